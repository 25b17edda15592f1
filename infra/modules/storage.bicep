// The two accounts: "data", where outsiders may get in, and "system", where they may not.

@description('Where the accounts lie.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the data account.')
param dataAccountName string

@description('Name of the system account.')
param systemAccountName string

@description('Container of the data account whose *.json blobs start runs.')
param triggerContainer string

@description('Container of the data account that holds inputs and results.')
param dataContainer string

@description('Whether only the private network, the addresses below and trusted services of Azure get in.')
param restricted bool

@description('IPv4 addresses and ranges of people who come in through the firewall where it is restricted.')
param allowedAddresses string[]

@description('A key that the user brings, for both accounts; empty: a key of Microsoft.')
param encryptionKeyUri string

@description('Resource id of the identity that may use that key.')
param encryptionIdentityId string

@description('Where deletions are logged.')
param logAnalyticsId string

@description('Whether each reading and writing of a blob of the data account is logged as well.')
param accessLogged bool

// A mistake is noticed within a week; what goes by rule costs that week once more.
var softDeleteDays = 7

// What steps hand to each other goes when its run has succeeded, by the app itself. What failed runs left stays until a
// retry needs it; after this time none comes any more, and one that comes makes it again. Results, readings, predictions
// and models are never deleted by a rule.
var betweenDays = 30

// Logs and receipts. Without its receipts a run can be neither resumed nor vouched for by `batchscore fetch`.
var logDays = 365

// Trigger files are small, but each minute all of them are listed. A run's record does not need its file any more.
// Files in the inbox stay: they may be somebody's only copy.
var triggerDays = 90

// Events that could not be read, and notices that Event Grid could not hand over: long enough to be found and replayed.
var deadLetterDays = 30

var deadLetterContainer = 'eventgrid-dead-letter'
var logsContainer = 'logs'
var packageContainer = 'app-package'

module data 'storage-account.bicep' = {
  name: 'storage-data'
  params: {
    name: dataAccountName
    location: location
    tags: tags
    containers: [
      triggerContainer
      dataContainer
    ]
    lifecycleRules: [
      {
        name: 'between'
        prefixes: [
          '${dataContainer}/between/'
        ]
        days: betweenDays
      }
      {
        name: 'triggers'
        prefixes: [
          '${triggerContainer}/'
        ]
        days: triggerDays
      }
      {
        name: 'dead-letters'
        prefixes: [
          '${dataContainer}/dead-letter/'
        ]
        days: deadLetterDays
      }
    ]
    softDeleteDays: softDeleteDays
    restricted: restricted
    allowedAddresses: allowedAddresses
    encryptionKeyUri: encryptionKeyUri
    encryptionIdentityId: encryptionIdentityId
    logAnalyticsId: logAnalyticsId
    accessLogged: accessLogged
  }
}

module system 'storage-account.bicep' = {
  name: 'storage-system'
  params: {
    name: systemAccountName
    location: location
    tags: tags
    containers: [
      'runs'
      'models'
      logsContainer
      packageContainer
      deadLetterContainer
    ]
    lifecycleRules: [
      {
        name: 'logs'
        prefixes: [
          '${logsContainer}/'
        ]
        days: logDays
      }
      {
        // What Azure Machine Learning itself writes of jobs: their consoles. Its other containers hold code and stay.
        name: 'job-logs'
        prefixes: [
          'azureml/ExperimentRun/'
        ]
        days: logDays
      }
      {
        name: 'event-grid-dead-letters'
        prefixes: [
          '${deadLetterContainer}/'
        ]
        days: deadLetterDays
      }
    ]
    softDeleteDays: softDeleteDays
    restricted: restricted
    allowedAddresses: allowedAddresses
    encryptionKeyUri: encryptionKeyUri
    encryptionIdentityId: encryptionIdentityId
    logAnalyticsId: logAnalyticsId
    accessLogged: false
  }
}

@description('Resource id of the data account.')
output dataAccountId string = data.outputs.id

@description('Name of the data account.')
output dataAccountName string = data.outputs.name

@description('Address of the blobs of the data account.')
output dataBlobEndpoint string = data.outputs.blobEndpoint

@description('Address of the queues of the data account.')
output dataQueueEndpoint string = data.outputs.queueEndpoint

@description('Resource id of the system account.')
output systemAccountId string = system.outputs.id

@description('Name of the system account.')
output systemAccountName string = system.outputs.name

@description('Address of the blobs of the system account.')
output systemBlobEndpoint string = system.outputs.blobEndpoint

@description('Address of the queues of the system account.')
output systemQueueEndpoint string = system.outputs.queueEndpoint

@description('Address of the tables of the system account.')
output systemTableEndpoint string = system.outputs.tableEndpoint

@description('Container of the system account that the code of the Function app is read from.')
output packageContainer string = packageContainer

@description('Container of the system account for notices that Event Grid could not hand over.')
output deadLetterContainer string = deadLetterContainer
