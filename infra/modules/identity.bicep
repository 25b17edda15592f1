// Who the parts are. Their roles are given by other modules, each where the thing lies that the role is on.

@description('Where the identities lie.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the identity that the Function app runs as.')
param functionsIdentityName string

@description('Name of the identity that the Azure Machine Learning workspace itself runs as.')
param workspaceIdentityName string

@description('Name of the identity that the nodes of the clusters run as.')
param clustersIdentityName string

resource functionsIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: functionsIdentityName
  location: location
  tags: tags
}

resource workspaceIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: workspaceIdentityName
  location: location
  tags: tags
}

// One for both clusters, and no system-assigned ones: its roles stand before the first node comes, and Microsoft's
// documentation asks for such an identity where parallel jobs meet an account without keys.
resource clustersIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: clustersIdentityName
  location: location
  tags: tags
}

@description('Resource id of the identity of the Function app.')
output functionsIdentityId string = functionsIdentity.id

@description('Client id of the identity of the Function app: what its settings name.')
output functionsClientId string = functionsIdentity.properties.clientId

@description('Principal id of the identity of the Function app: what roles are given to.')
output functionsPrincipalId string = functionsIdentity.properties.principalId

@description('Resource id of the identity of the workspace.')
output workspaceIdentityId string = workspaceIdentity.id

@description('Principal id of the identity of the workspace: what roles are given to.')
output workspacePrincipalId string = workspaceIdentity.properties.principalId

@description('Resource id of the identity of the nodes.')
output clustersIdentityId string = clustersIdentity.id

@description('Principal id of the identity of the nodes: what roles are given to.')
output clustersPrincipalId string = clustersIdentity.properties.principalId
