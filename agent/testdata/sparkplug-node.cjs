// An edge node by the reference client in JavaScript: one device, and metrics of every kind. It does what the lines of its standard
// input say, JSON each, and prints what happens.
const readline = require('readline')
const sparkplug = require('sparkplug-client')

const [serverUrl, edgeNode, births] = process.argv.slice(2)
const client = sparkplug.newClient({
  serverUrl, username: '', password: '', groupId: 'Plant', edgeNode, clientId: `node-${edgeNode}`, version: 'spBv1.0', publishDeath: true,
  keepalive: 60, mqttOptions: { reconnectPeriod: 100 },
})

const timestamp = () => Date.now()
const metric = (name, type, value, more) => ({ name, type, value, timestamp: timestamp(), ...more })
const unit = { engUnit: { type: 'String', value: '°C' } }

const nbirth = (more) => ({
  timestamp: timestamp(),
  metrics: [
    metric('Node Control/Rebirth', 'Boolean', false),
    metric('Inputs/Temperature', 'Double', 20.5, { alias: 10, properties: unit }),
    metric('Inputs/Offset', 'Int8', -3, { alias: 11 }),
    metric('Inputs/Count', 'Int64', -5, { alias: 12 }),
    metric('State', 'String', 'läuft', { alias: 13 }),
    metric('Batch', 'DataSet', { numOfColumns: 2, types: ['Int32', 'String'], columns: ['Id', 'Name'], rows: [[-7, 'a'], [8, 'b']] }),
    metric('Motor', 'Template', {
      version: 'v1', templateRef: 'Motor', isDefinition: false,
      metrics: [metric('RPM', 'Int32', 1500)], parameters: [{ name: 'Index', type: 'String', value: '1' }],
    }),
    ...(more ?? []),
  ],
})
const dbirth = () => ({ timestamp: timestamp(), metrics: [metric('Speed', 'UInt32', 4000000000, { alias: 20 }), metric('On', 'Boolean', true, { alias: 21 })] })

const bear = (options) => {
  client.publishNodeBirth(nbirth(), options)
  client.publishDeviceBirth('Press', dbirth(), options)
}
client.on('birth', () => {
  if (births !== 'none') bear()
  console.log('connected')
})
client.on('close', () => console.log('closed'))
client.on('ncmd', (payload) => {
  console.log('ncmd ' + payload.metrics.map((m) => `${m.name}=${m.value}`).join(' '))
  if (payload.metrics.some((m) => m.name === 'Node Control/Rebirth' && m.value)) bear()
})

const acts = {
  births: ({ options }) => bear(options),
  ndata: ({ metrics, options }) => client.publishNodeData({ timestamp: timestamp(), metrics }, options),
  ddata: ({ metrics, options }) => client.publishDeviceData('Press', { timestamp: timestamp(), metrics }, options),
  ddeath: () => client.publishDeviceDeath('Press', { timestamp: timestamp(), metrics: [] }),
  lose: ({ count }) => { for (let i = 0; i < count; i++) client.incrementSeqNum() },
  drop: () => client.client.stream.destroy(), // the broker publishes the will
  stop: () => client.stop(),
}
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const act = JSON.parse(line)
  acts[act.do](act)
  console.log('did ' + act.do)
}).on('close', () => process.exit(0))
