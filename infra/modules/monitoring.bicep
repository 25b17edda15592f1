// Where everything is written that somebody wants to read later, and who is told when something is wrong.

@description('Where the monitoring lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the Log Analytics workspace.')
param logAnalyticsName string

@description('Name of the Application Insights component.')
param applicationInsightsName string

@description('Name of the action group that alerts call.')
param actionGroupName string

@description('Whom alerts and the budget write to; without an address alerts are only seen in the portal.')
param alertEmail string

@description('Days that logs stay; the first 31 cost nothing beyond taking them in.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

resource logAnalytics 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: logAnalyticsName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logRetentionDays
    features: {
      // No workspace keys: everything that writes here does so as an identity or through Azure Monitor.
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
    // No daily cap: past it nothing is taken in, and the alerts would be blind on the day that matters.
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logAnalytics.id
    // The connection string alone writes nothing: telemetry needs the role Monitoring Metrics Publisher.
    DisableLocalAuth: true
    // Nothing is thrown away on arrival, for the alerts count single traces; host.json thins dependencies out.
    SamplingPercentage: 100
  }
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'batchscore'
    enabled: true
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

@description('Resource id of the Log Analytics workspace.')
output logAnalyticsId string = logAnalytics.id

@description('Resource id of Application Insights.')
output applicationInsightsId string = applicationInsights.id

@description('Name of Application Insights.')
output applicationInsightsName string = applicationInsights.name

@description('Where telemetry goes. No secret: local authentication is off, so it only names the place.')
output applicationInsightsConnectionString string = applicationInsights.properties.ConnectionString

@description('Resource id of the action group, empty where no address was given.')
output actionGroupId string = empty(alertEmail) ? '' : actionGroup.id
