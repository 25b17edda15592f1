// The other way in for readings: a job that takes them together by the minute and writes the folders that the Function
// app would. It costs for every hour that it runs, also when nothing comes. It is deployed stopped; the hook starts it.

@description('Where the job lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the job.')
param jobName string

@description('Name of the namespace of the event hub.')
param eventHubNamespaceName string

@description('Name of the event hub.')
param eventHubName string

@description('Consumer group of the job.')
param consumerGroupName string

@description('Name of the data account.')
param dataAccountName string

@description('Container of the data account that holds inputs and results.')
param dataContainer string

@description('Where bad events are told of.')
param logAnalyticsId string

@description('Streaming units: what the job costs by the hour, and how much it bears.')
@allowed([
  3
  6
  12
])
param streamingUnits int = 3

resource job 'Microsoft.StreamAnalytics/streamingjobs@2020-03-01' = {
  name: jobName
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    sku: {
      name: 'Standard'
    }
    compatibilityLevel: '1.2'
    dataLocale: 'en-US'
    contentStoragePolicy: 'SystemAccount'
    jobType: 'Cloud'
    // Never 'Stop': one row that cannot be written would hold up all that come after it.
    outputErrorPolicy: 'Drop'
    // Never 'Adjust': it gives an event another time, and a reading of another minute would be averaged into this one.
    eventsOutOfOrderPolicy: 'Drop'
    // Devices of one partition differ by minutes; each second more delays all output by one.
    eventsOutOfOrderMaxDelayInSeconds: 300
    // So long the output waits for a partition that is silent. SCORING_SCHEDULE has to be later than both together.
    eventsLateArrivalMaxDelayInSeconds: 300
    inputs: [
      {
        name: 'readings'
        properties: {
          type: 'Stream'
          datasource: {
            type: 'Microsoft.EventHub/EventHub'
            properties: {
              serviceBusNamespace: eventHubNamespaceName
              eventHubName: eventHubName
              consumerGroupName: consumerGroupName
              authenticationMode: 'Msi'
            }
          }
          serialization: {
            type: 'Json'
            properties: {
              encoding: 'UTF8'
            }
          }
        }
      }
    ]
    outputs: [
      {
        name: 'landed'
        properties: {
          datasource: {
            type: 'Microsoft.Storage/Blob'
            properties: {
              authenticationMode: 'Msi'
              storageAccounts: [
                {
                  accountName: dataAccountName
                }
              ]
              container: dataContainer
              // The query makes the folder: the service's own {date} and {time} put an hour's last minute into the next.
              pathPattern: 'readings/{folder}'
            }
          }
          serialization: {
            type: 'Json'
            properties: {
              encoding: 'UTF8'
              // An array would stay open until the job stops.
              format: 'LineSeparated'
            }
          }
        }
      }
    ]
    transformation: {
      name: 'by-minute'
      properties: {
        streamingUnits: streamingUnits
        query: loadTextContent('stream-analytics.asaql')
      }
    }
  }
}

// What is no reading is nowhere else: there are no dead letters.
resource badEvents 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: job
  name: 'bad-events'
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'Execution'
        enabled: true
      }
    ]
  }
}

@description('Name of the job.')
output jobName string = job.name

@description('Principal id of the job: what its roles on the event hub and the data container are given to.')
output principalId string = job.identity.principalId
