// A budget of the resource group. It only warns: nothing is stopped by it, and figures are up to a day late.

@description('What a month may cost, in the currency of the subscription.')
param amount int

@description('First day of the first month, yyyy-MM-01. It cannot be changed later, so it is written down once.')
param startDate string

@description('Whom it writes to beside the owners; empty: the owners alone.')
param alertEmail string

@description('Resource id of the action group that it calls, or empty.')
param actionGroupId string

var emails = empty(alertEmail) ? [] : array(alertEmail)
var groups = empty(actionGroupId) ? [] : array(actionGroupId)

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'batchscore'
  properties: {
    amount: amount
    category: 'Cost'
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: startDate
    }
    notifications: {
      // Early enough to do something about it.
      Forecast: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
        contactGroups: groups
        contactRoles: [
          'Owner'
        ]
      }
      MostOfIt: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
        contactGroups: groups
        contactRoles: [
          'Owner'
        ]
      }
      AllOfIt: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: emails
        contactGroups: groups
        contactRoles: [
          'Owner'
        ]
      }
    }
  }
}
