"""A session of paho-mqtt, driven by lines, for the end-to-end suite: src/peer.rs has the commands and answers.

paho_session.py HOST PORT PROTOCOL CLIENT_ID clean|kept [WILL_TOPIC WILL_TEXT WILL_QOS WILL_RETAIN]

WISP_E2E_SCHEME is mqtt, mqtts, ws or wss; WISP_E2E_CA is the file of the authority that is trusted; WISP_E2E_USER is a user
and a password, USER:PASSWORD.
"""

import collections
import os
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(*words):
    print(*words, flush=True)


def connect(host, port, protocol, client_id, keeping, will):
    is_v5 = int(protocol) == mqtt.MQTTv5
    clean = keeping == "clean"
    more = {} if is_v5 else {"clean_session": clean}
    scheme = os.environ.get("WISP_E2E_SCHEME", "mqtt")
    if scheme.startswith("ws"):
        more["transport"] = "websockets"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=int(protocol), **more)
    if scheme in ("mqtts", "wss"):
        client.tls_set(ca_certs=os.environ["WISP_E2E_CA"])
    if "WISP_E2E_USER" in os.environ:
        client.username_pw_set(*os.environ["WISP_E2E_USER"].split(":"))
    if will:
        topic, text, qos, retain = will
        client.will_set(topic, text, int(qos), retain == "1")
    client.on_connect = lambda _client, _userdata, flags, reason, _properties: say(
        f"error {reason}" if reason.is_failure else f"connected {int(flags.session_present)}"
    )
    client.on_message = lambda _client, _userdata, message: say(
        "message", message.qos, int(message.retain), message.topic, message.payload.hex()
    )
    client.on_publish = lambda *_: say("published")
    if is_v5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean else 3600
        client.connect(host, int(port), clean_start=clean, properties=properties)
    else:
        client.connect(host, int(port))
    return client


def main():
    host, port, protocol, client_id, keeping, *will = sys.argv[1:]
    client = connect(host, port, protocol, client_id, keeping, will)
    # The answers come in the order of the requests, maybe before the call that asked has returned.
    asked = collections.deque()
    client.on_subscribe = lambda _client, _userdata, _mid, reasons, _properties: say(
        "subscribed" if [reason.value for reason in reasons] == [asked.popleft()] else f"error granted {reasons}"
    )
    client.loop_start()
    for line in sys.stdin:
        command, *words = line.split()
        if command == "subscribe":
            qos, topic = words
            asked.append(int(qos))
            client.subscribe(topic, int(qos))
        elif command == "publish":
            qos, retain, topic, *digits = words
            client.publish(topic, bytes.fromhex("".join(digits)), int(qos), retain == "1")
        else:
            sys.exit(f"no such command: {command}")
    client.disconnect()
    client.loop_stop()


main()
