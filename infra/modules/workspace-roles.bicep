// Who may do what in the workspace.

@description('Name of the workspace.')
param workspaceName string

@description('Principal id of the identity of the Function app.')
param functionsPrincipalId string

@description('Resource id of the role by which the Function app submits jobs.')
param jobSubmitterRoleId string

@description('Principal id of the identity of the workspace.')
param workspacePrincipalId string

@description('Principal id of whoever deploys; empty: no grants to people.')
param deployerPrincipalId string

@description('User, Group or ServicePrincipal: what the principal is that deploys.')
param deployerPrincipalType string

var roles = loadJsonContent('../roles.json')
var contributorId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Contributor)
var dataScientistId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['AzureML Data Scientist'])

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = {
  name: workspaceName
}

resource functionsApp 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: workspace
  name: guid(workspace.id, functionsPrincipalId, jobSubmitterRoleId)
  properties: {
    principalId: functionsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: jobSubmitterRoleId
  }
}

// What Microsoft's documentation asks for a workspace with an identity that the user brings.
resource workspaceItself 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: workspace
  name: guid(workspace.id, workspacePrincipalId, contributorId)
  properties: {
    principalId: workspacePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: contributorId
  }
}

// `batchscore deploy --compute-by-infra` registers environments, components and models.
resource deployer 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  scope: workspace
  name: guid(workspace.id, deployerPrincipalId, dataScientistId)
  properties: {
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
    roleDefinitionId: dataScientistId
  }
}
