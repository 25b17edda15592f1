// What the Function app does in the workspace and no more: it submits jobs, looks at them and stops them.

@description('Tells this environment from others: names of roles are unique in a tenant.')
param token string

var group = resourceGroup().id
var workspaces = 'Microsoft.MachineLearningServices/workspaces'

resource jobSubmitter 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, 'job-submitter', token)
  properties: {
    roleName: 'batchscore job submitter (${token})'
    description: 'Submits jobs to a workspace of Azure Machine Learning, looks at them and stops them.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          // The workspace itself: `*/read` is what lies inside.
          '${workspaces}/read'
          '${workspaces}/*/read'
          // By a wildcard, as Microsoft's own list of what submitting takes has it: cancelling is one of them.
          '${workspaces}/jobs/*'
          // The service prepares image and snapshot of a job in the name of who submits it.
          '${workspaces}/environments/write'
          '${workspaces}/environments/build/action'
          '${workspaces}/environments/readSecrets/action'
          '${workspaces}/metadata/artifacts/write'
        ]
        notActions: [
          // A job is the account of what was done.
          '${workspaces}/jobs/delete'
        ]
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [
      group
    ]
  }
}

// As Azure tells it of an assignment: in another spelling every deployment would look like a change.
@description('Resource id of the role.')
output roleId string = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', jobSubmitter.name)
