// Who may send to the event hub and who may read it.

@description('Name of the Event Hubs namespace.')
param namespaceName string

@description('Name of the event hub.')
param eventHubName string

@description('Principal id of who takes the readings in: the Function app or the Stream Analytics job.')
param readerPrincipalId string

@description('Principal id of whoever deploys; empty: no grants to people.')
param deployerPrincipalId string

@description('User, Group or ServicePrincipal: what the principal is that deploys.')
param deployerPrincipalType string

var roles = loadJsonContent('../roles.json')
var always = [
  { principalId: readerPrincipalId, principalType: 'ServicePrincipal', role: roles['Azure Event Hubs Data Receiver'] }
]
// The simulator sends; the doctor looks how much waits.
var withDeployer = [
  { principalId: deployerPrincipalId, principalType: deployerPrincipalType, role: roles['Azure Event Hubs Data Sender'] }
  { principalId: deployerPrincipalId, principalType: deployerPrincipalType, role: roles['Azure Event Hubs Data Receiver'] }
]
var onEventHub = concat(always, empty(deployerPrincipalId) ? [] : withDeployer)

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName

  resource eventHub 'eventhubs' existing = {
    name: eventHubName
  }
}

resource eventHubGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for grant in onEventHub: {
    scope: namespace::eventHub
    name: guid(namespace::eventHub.id, grant.principalId, grant.role)
    properties: {
      principalId: grant.principalId
      principalType: grant.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', grant.role)
    }
  }
]
