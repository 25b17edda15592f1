// The private network: a subnet for the Function app, one for the nodes of the clusters, one for private endpoints.

@description('Where the network lies.')
param location string

@description('Tags of everything that belongs to the environment.')
param tags object

@description('Name of the network.')
param networkName string

@description('Name of the rules for what comes in.')
param securityGroupName string

@description('Resource id of a NAT gateway through which the network goes out; empty: by addresses that Azure lends.')
param natGatewayId string

var natGateway = {
  id: natGatewayId
}
// Images are built from, and nodes managed over, public addresses, so something must lead out.
var lentAddresses = empty(natGatewayId)

resource securityGroup 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: securityGroupName
  location: location
  tags: tags
  properties: {
    securityRules: [
      // Nodes without public addresses are managed over connections that they open themselves.
      {
        name: 'nobody-from-outside'
        properties: {
          direction: 'Inbound'
          access: 'Deny'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: networkName
  location: location
  tags: tags
  properties: {
    addressSpace: {
      // Not 172.17.0.0/16, which the containers on the nodes take for themselves.
      addressPrefixes: [
        '10.60.0.0/16'
      ]
    }
    // In here and not resources of their own: else a second deployment of the network would remove them first.
    subnets: [
      {
        name: 'functions'
        properties: {
          addressPrefix: '10.60.0.0/24'
          networkSecurityGroup: {
            id: securityGroup.id
          }
          natGateway: lentAddresses ? null : natGateway
          defaultOutboundAccess: lentAddresses
          // Flex Consumption runs on the platform of Container Apps.
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.60.1.0/24'
          networkSecurityGroup: {
            id: securityGroup.id
          }
          defaultOutboundAccess: false
          // Without this the rules above would not count for private endpoints.
          privateEndpointNetworkPolicies: 'NetworkSecurityGroupEnabled'
        }
      }
      {
        name: 'clusters'
        properties: {
          // An address for every node: a thousand.
          addressPrefix: '10.60.4.0/22'
          networkSecurityGroup: {
            id: securityGroup.id
          }
          natGateway: lentAddresses ? null : natGateway
          defaultOutboundAccess: lentAddresses
        }
      }
    ]
  }
}

@description('Resource id of the network.')
output id string = network.id

@description('Resource id of the subnet of the Function app.')
output functionsSubnetId string = '${network.id}/subnets/functions'

@description('Resource id of the subnet of the clusters.')
output clustersSubnetId string = '${network.id}/subnets/clusters'

@description('Resource id of the subnet of the private endpoints.')
output endpointsSubnetId string = '${network.id}/subnets/endpoints'
