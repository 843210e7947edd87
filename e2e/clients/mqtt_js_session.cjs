// A session of the package mqtt, driven by lines, for the end-to-end suite: src/peer.rs has the commands and answers.
//
// mqtt_js_session.cjs HOST PORT PROTOCOL CLIENT_ID clean|kept [WILL_TOPIC WILL_TEXT WILL_QOS WILL_RETAIN]
'use strict';

const readline = require('node:readline');
const mqtt = require('mqtt');

const say = (...words) => process.stdout.write(words.join(' ') + '\n');

const [host, port, protocol, clientId, keeping, ...will] = process.argv.slice(2);
const protocolVersion = Number(protocol);
const clean = keeping === 'clean';
const options = {
  host,
  port: Number(port),
  protocolVersion,
  protocolId: protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
  clientId,
  clean,
  reconnectPeriod: 0,
};
if (protocolVersion === 5) {
  options.properties = { sessionExpiryInterval: clean ? 0 : 3600 };
}
if (will.length > 0) {
  const [topic, payload, qos, retain] = will;
  options.will = { topic, payload, qos: Number(qos), retain: retain === '1' };
}

const client = mqtt.connect(options);
client.on('connect', (answer) => say('connected', answer.sessionPresent ? 1 : 0));
client.on('error', (error) => say('error', error.message));
client.on('message', (topic, payload, packet) => {
  say('message', packet.qos, packet.retain ? 1 : 0, topic, payload.toString('hex'));
});

const commands = {
  subscribe: ([qos, topic]) => {
    client.subscribe(topic, { qos: Number(qos) }, (error, granted) => {
      // A second time for the same filter the package reports nothing granted.
      const asTold = !error && granted.every((one) => one.qos === Number(qos));
      say(asTold ? 'subscribed' : `error ${error || JSON.stringify(granted)}`);
    });
  },
  publish: ([qos, retain, topic, digits = '']) => {
    client.publish(topic, Buffer.from(digits, 'hex'), { qos: Number(qos), retain: retain === '1' }, (error) => {
      say(error ? `error ${error.message}` : 'published');
    });
  },
};

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [command, ...words] = line.split(' ').filter((word) => word !== '');
    commands[command](words);
  })
  .on('close', () => client.end(false, {}, () => process.exit(0)));
