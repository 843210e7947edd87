// A session of the package mqtt, driven by lines, for the end-to-end suite: src/peer.rs has the commands and answers.
//
// mqtt_js_session.cjs HOST PORT PROTOCOL CLIENT_ID clean|kept [WILL_TOPIC WILL_TEXT WILL_QOS WILL_RETAIN]
//
// WISP_E2E_SCHEME is mqtt, mqtts, ws or wss; WISP_E2E_CA is the file of the authority that is trusted.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const mqtt = require('mqtt');

const say = (...words) => process.stdout.write(words.join(' ') + '\n');

const [host, port, protocol, clientId, keeping, ...will] = process.argv.slice(2);
const protocolVersion = Number(protocol);
const clean = keeping === 'clean';
const scheme = process.env.WISP_E2E_SCHEME ?? 'mqtt';
const options = {
  protocol: scheme,
  path: scheme.startsWith('ws') ? '/mqtt' : undefined,
  ca: process.env.WISP_E2E_CA && fs.readFileSync(process.env.WISP_E2E_CA),
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
client.on('disconnect', (packet) => say('disconnect', packet.reasonCode, packet.properties?.reasonString));
client.on('message', (topic, payload, packet) => {
  say('message', packet.qos, packet.retain ? 1 : 0, topic, payload.toString('hex'));
});

const commands = {
  // Publishes so many messages at QoS 2 at once, and says how many were accepted and how many refused.
  burst: ([count, topic]) => {
    const answers = { accepted: 0, refused: 0 };
    for (let number = 0; number < Number(count); number += 1) {
      client.publish(topic, String(number), { qos: 2 }, (error) => {
        answers[error ? 'refused' : 'accepted'] += 1;
        if (answers.accepted + answers.refused === Number(count)) {
          say('burst', answers.accepted, answers.refused);
        }
      });
    }
  },
  subscribe_no_local: ([topic]) => client.subscribe(topic, { qos: 1, nl: true }),
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
