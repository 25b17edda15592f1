// What the nodes do in the workspace's default account, which is the system account: Azure Machine Learning keeps there a
// job's code and logs, and the queues and tables by which a parallel job hands out its mini-batches.
//
// It is Storage Blob, Queue and Table Data Contributor in one, less the deleting of containers: the condition that keeps
// nodes out of ours (role-assignments.bicep) is asked for what happens to blobs, and never for what happens to a container.

@description('Tells this environment from others: names of roles are unique in a tenant.')
param token string

var group = resourceGroup().id
var accounts = 'Microsoft.Storage/storageAccounts'

resource clusterRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, 'cluster-nodes', token)
  properties: {
    roleName: 'batchscore cluster nodes (${token})'
    description: 'Blobs, queues and tables of the account that a workspace of Azure Machine Learning works in.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          '${accounts}/blobServices/containers/read'
          '${accounts}/blobServices/containers/write'
          '${accounts}/blobServices/generateUserDelegationKey/action'
          '${accounts}/queueServices/queues/read'
          '${accounts}/queueServices/queues/write'
          '${accounts}/queueServices/queues/delete'
          '${accounts}/tableServices/tables/read'
          '${accounts}/tableServices/tables/write'
          '${accounts}/tableServices/tables/delete'
        ]
        notActions: []
        dataActions: [
          '${accounts}/blobServices/containers/blobs/read'
          '${accounts}/blobServices/containers/blobs/write'
          '${accounts}/blobServices/containers/blobs/add/action'
          '${accounts}/blobServices/containers/blobs/delete'
          '${accounts}/queueServices/queues/messages/read'
          '${accounts}/queueServices/queues/messages/write'
          '${accounts}/queueServices/queues/messages/add/action'
          '${accounts}/queueServices/queues/messages/process/action'
          '${accounts}/queueServices/queues/messages/delete'
          '${accounts}/tableServices/tables/entities/read'
          '${accounts}/tableServices/tables/entities/write'
          '${accounts}/tableServices/tables/entities/add/action'
          '${accounts}/tableServices/tables/entities/update/action'
          '${accounts}/tableServices/tables/entities/delete'
        ]
        notDataActions: []
      }
    ]
    assignableScopes: [
      group
    ]
  }
}

@description('Resource id of the role.')
output roleId string = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', clusterRole.name)
