// Who the parts are. Their roles are given by other modules, each where the thing lies that the role is on.

@description('Where the identities lie.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the identity that the Function app runs as.')
param functionsIdentityName string

@description('Name of the identity that the Azure Machine Learning workspace itself runs as.')
param workspaceIdentityName string

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
