// Alerts on what the app says of itself (batchscore/signals.py), each with what to type. docs/operate.md tells more.

@description('Where the rules lie: the region of the workspace.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Resource id of the Log Analytics workspace that Application Insights writes to.')
param logAnalyticsId string

@description('Resource id of the action group that is called, or empty: then alerts are only seen in the portal.')
param actionGroupId string

@description('Whether hours of readings are scored.')
param sensorsEnabled bool

// What happened stays so: each time counts, but not more often than once an hour. A state is over when its rule says so.
var always = [
  {
    name: 'poison-messages'
    displayName: 'batchscore: a trigger file could not be read'
    description: 'Storage failed at every try to read a file that starts a run. Type: batchscore runs --state poisoned; batchscore doctor; batchscore replay RUN. The sweep reads it again by itself once storage answers.'
    severity: 1
    window: 'PT30M'
    isState: false
    query: loadTextContent('../alerts/poison-messages.kql')
  }
  {
    name: 'failed-runs'
    displayName: 'batchscore: a run failed'
    description: 'A run failed, or was given up because it went silent or got no machines. Type: batchscore runs --state failed (or canceled); batchscore show RUN says why and what to type next.'
    severity: 2
    window: 'PT30M'
    isState: false
    query: loadTextContent('../alerts/failed-runs.kql')
  }
  {
    name: 'oldest-trigger'
    displayName: 'batchscore: a trigger is not taken up'
    description: 'For a quarter of an hour something has waited whose turn it is: a trigger file without a run, or a run that cannot be started. Type: batchscore doctor; batchscore runs --state accepted; batchscore show RUN says what holds it up.'
    severity: 2
    window: 'PT15M'
    isState: true
    query: loadTextContent('../alerts/oldest-trigger.kql')
  }
  {
    name: 'app-silent'
    displayName: 'batchscore: the Function app is silent'
    description: 'The timer that comes every minute has said nothing for a quarter of an hour; no other alert can come meanwhile. Look at the Function app in the portal (stopped? its last deployment?). Type: batchscore doctor; azd deploy.'
    severity: 1
    window: 'P1D'
    isState: true
    query: loadTextContent('../alerts/app-silent.kql')
  }
]
var hourly = [
  {
    name: 'hours-unpublished'
    displayName: 'batchscore: no hour was scored in two hours'
    description: 'Readings of an hour are there, and two hours after its end nothing was published. Type: batchscore hours; it names the run (batchscore show RUN) or what the hour waits for, such as a model set.'
    severity: 1
    window: 'PT2H'
    isState: true
    query: loadTextContent('../alerts/hours-unpublished.kql')
  }
]

resource rule 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in concat(always, sensorsEnabled ? hourly : []): {
    name: 'batchscore-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.displayName
      description: alert.description
      severity: alert.severity
      enabled: true
      scopes: [
        logAnalyticsId
      ]
      // The rarest that is soon enough for a system that works by the hour, and the cheapest.
      evaluationFrequency: 'PT15M'
      windowSize: alert.window
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: alert.isState
      muteActionsDuration: alert.isState ? null : 'PT1H'
      // The tables come with the first line that the app writes, which is after this.
      skipQueryValidation: true
      actions: {
        actionGroups: empty(actionGroupId) ? [] : array(actionGroupId)
      }
    }
  }
]
