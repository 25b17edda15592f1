// The clusters, as scoring/computes/*.yml has them: `batchscore deploy --compute-by-infra` finds nothing to tell.

@description('Where the clusters lie.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the workspace.')
param workspaceName string

@description('Resource id of the identity that the nodes run as; it has its roles already.')
param clustersIdentityId string

@description('Resource id of the subnet of the nodes; empty: no private network.')
param subnetId string

@description('Name of the CPU cluster.')
param cpuClusterName string

@description('VM size of the nodes of the CPU cluster.')
param cpuClusterSize string

@description('Nodes of the CPU cluster that stay when nothing runs.')
@minValue(0)
param cpuClusterMinNodes int

@description('The most nodes that the CPU cluster grows to.')
@minValue(1)
param cpuClusterMaxNodes int

@description('dedicated, or low_priority: cheaper nodes that Azure may take away.')
@allowed([
  'dedicated'
  'low_priority'
])
param cpuClusterTier string

@description('Whether there is a GPU cluster.')
param gpuEnabled bool

@description('Name of the GPU cluster.')
param gpuClusterName string

@description('VM size of the nodes of the GPU cluster.')
param gpuClusterSize string

@description('Nodes of the GPU cluster that stay when nothing runs.')
@minValue(0)
param gpuClusterMinNodes int

@description('The most nodes that the GPU cluster grows to.')
@minValue(1)
param gpuClusterMaxNodes int

@description('dedicated, or low_priority: cheaper nodes that Azure may take away.')
@allowed([
  'dedicated'
  'low_priority'
])
param gpuClusterTier string

// Long enough for the next step of a pipeline to find the nodes of the one before.
var idleTime = 'PT120S'
var priorities = {
  dedicated: 'Dedicated'
  low_priority: 'LowPriority'
}
var cpuCluster = {
  name: cpuClusterName
  description: 'Steps that need no GPU. Costs nothing while nothing runs.'
  size: cpuClusterSize
  tier: cpuClusterTier
  minNodes: cpuClusterMinNodes
  maxNodes: cpuClusterMaxNodes
}
var gpuCluster = {
  name: gpuClusterName
  description: 'Steps that run a network over pictures or train one. Costs nothing while nothing runs.'
  size: gpuClusterSize
  tier: gpuClusterTier
  minNodes: gpuClusterMinNodes
  maxNodes: gpuClusterMaxNodes
}
var clusters = gpuEnabled ? [cpuCluster, gpuCluster] : [cpuCluster]
var inNetwork = !empty(subnetId)
var subnet = {
  id: subnetId
}
resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = {
  name: workspaceName
}

// One after the other: a workspace takes one change of its computes at a time.
@batchSize(1)
resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = [
  for each in clusters: {
    parent: workspace
    name: each.name
    location: location
    tags: tags
    identity: {
      type: 'UserAssigned'
      userAssignedIdentities: {
        '${clustersIdentityId}': {}
      }
    }
    properties: {
      computeType: 'AmlCompute'
      description: each.description
      disableLocalAuth: true
      properties: {
        vmSize: each.size
        vmPriority: priorities[each.tier]
        osType: 'Linux'
        scaleSettings: {
          minNodeCount: each.minNodes
          maxNodeCount: each.maxNodes
          nodeIdleTimeBeforeScaleDown: idleTime
        }
        subnet: inNetwork ? subnet : null
        enableNodePublicIp: !inNetwork
        // No SSH: what went wrong is in the logs.
        remoteLoginPortPublicAccess: 'Disabled'
      }
    }
  }
]
