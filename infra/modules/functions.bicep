// The Function app on a Flex Consumption plan: one identity for everything, no key and no secret among its settings.

@description('Where the Function app lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the plan.')
param planName string

@description('Name of the Function app; its address is https://<name>.azurewebsites.net.')
param functionAppName string

@description('Resource id of the user-assigned identity that the app runs as.')
param identityId string

@description('Client id of that identity.')
param identityClientId string

@description('Connection string of Application Insights.')
param applicationInsightsConnectionString string

@description('Address of the blobs of the system account.')
param systemBlobEndpoint string

@description('Address of the queues of the system account.')
param systemQueueEndpoint string

@description('Address of the tables of the system account.')
param systemTableEndpoint string

@description('Container of the system account that the code is read from.')
param packageContainer string

@description('Address of the blobs of the data account.')
param dataBlobEndpoint string

@description('Address of the queues of the data account.')
param dataQueueEndpoint string

@description('Host name of the Event Hubs namespace that readings come from; empty: the app reads no hub.')
param eventHubNamespace string

@description('Name of the event hub.')
param eventHubName string

@description('Consumer group of the event hub that this app alone reads with.')
param eventHubConsumerGroup string

@description('When the hourly timer looks, an NCRONTAB expression; empty: as batchscore does by itself.')
param scoringSchedule string

@description('Settings of the app that depend on other parts: containers, workspace, clusters.')
param settings object

@description('Further settings, which win over all others: names and texts.')
param furtherSettings object

@description('Memory of an instance in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Resource id of the subnet that the app goes out through; empty: straight to the Internet.')
param subnetId string

@description('Whether only Event Grid and the addresses below get in.')
param restricted bool

@description('IPv4 addresses and ranges of people who come in where it is restricted.')
param allowedAddresses string[]

// The host's own settings, and who the app is on Azure. What batchscore reads itself is told in docs/settings.md.
var hostSettings = {
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__blobServiceUri: systemBlobEndpoint
  AzureWebJobsStorage__queueServiceUri: systemQueueEndpoint
  AzureWebJobsStorage__tableServiceUri: systemTableEndpoint
  DATA_STORAGE__credential: 'managedidentity'
  DATA_STORAGE__clientId: identityClientId
  // Both, never serviceUri: with that one the host finds no poison queue (azure-functions-host#8019).
  DATA_STORAGE__blobServiceUri: dataBlobEndpoint
  DATA_STORAGE__queueServiceUri: dataQueueEndpoint
  // The only source that Flex Consumption has.
  BLOB_TRIGGER_SOURCE: 'EventGrid'
  COMPUTE: 'azureml'
  AZUREML_CLIENT_ID: identityClientId
}
var eventHubSettings = {
  EVENT_HUB__credential: 'managedidentity'
  EVENT_HUB__clientId: identityClientId
  EVENT_HUB__fullyQualifiedNamespace: eventHubNamespace
  EVENT_HUB_NAME: eventHubName
  EVENT_HUB_CONSUMER_GROUP: eventHubConsumerGroup
}
var scheduleSettings = {
  SCORING_SCHEDULE: scoringSchedule
}
var ownSettings = union(hostSettings, empty(eventHubNamespace) ? {} : eventHubSettings, empty(scoringSchedule) ? {} : scheduleSettings, settings)
var appSettings = union(ownSettings, furtherSettings)

var eventGridRule = [
  {
    name: 'event-grid'
    description: 'Notices of new blobs'
    action: 'Allow'
    priority: 100
    tag: 'ServiceTag'
    ipAddress: 'AzureEventGrid'
  }
]
var peopleRules = [
  for (address, index) in allowedAddresses: {
    name: 'address-${index}'
    description: 'ALLOWED_ADDRESSES'
    action: 'Allow'
    priority: 200 + index
    tag: 'Default'
    // Here a single address needs its suffix.
    ipAddress: contains(address, '/') ? address : '${address}/32'
  }
]

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: functionAppName
  location: location
  // By this tag azd finds the app that its service belongs to.
  tags: union(tags, {
    'azd-service-name': 'functions'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Event Grid needs an address that it can reach; who else may come is said below.
    publicNetworkAccess: 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // Nothing of FTP, instances' bits or versions: Flex Consumption has none of it, and some regions refuse a site that
    // says a word of it.
    siteConfig: {
      appSettings: [
        for setting in items(appSettings): {
          name: setting.key
          value: string(setting.value)
        }
      ]
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      remoteDebuggingEnabled: false
      ipSecurityRestrictions: restricted ? concat(eventGridRule, peopleRules) : []
      ipSecurityRestrictionsDefaultAction: restricted ? 'Deny' : 'Allow'
      scmIpSecurityRestrictions: restricted ? peopleRules : []
      scmIpSecurityRestrictionsDefaultAction: restricted ? 'Deny' : 'Allow'
      scmIpSecurityRestrictionsUseMain: false
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${systemBlobEndpoint}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        // Doors only record, and one reconciler acts at a time: more instances would wait for its lease, and cost when
        // somebody floods the trigger container.
        maximumInstanceCount: 40
        // None is kept ready, which would cost all the time; docs/cost.md tells what it would buy.
        alwaysReady: []
      }
    }
  }
}

// No diagnostic setting: its FunctionAppLogs are the lines that Application Insights has, paid for a second time.

// Code comes in as an identity, never with the publishing user's password.
resource scmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource ftpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

@description('Name of the Function app.')
output functionAppName string = app.name
