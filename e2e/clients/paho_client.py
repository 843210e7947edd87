"""A subscriber and a publisher on paho-mqtt, driven by arguments and lines, for the end-to-end suite.

sub FILTER...           prints "subscribed" after each SUBACK (again after a reconnection),
                        "message TOPIC HEX" for each message, "disconnected" when the connection is lost.
                        A line "unsubscribe FILTER" on standard input is answered by "unsubscribed".
                        Ends in order at the end of standard input.
pub TOPIC [--count N]   publishes standard input as one message; with a count, to N topics, in which {}
                        stands for the numbers from 0.
"""

import argparse
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
TIMEOUT_S = 60


def say(*words):
    print(*words, flush=True)


def new_client(options):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=VERSIONS[options.version])
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    return client


def subscribe(options):
    client = new_client(options)

    def on_connect(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(f"refused: {reason}")
        if options.version == "5":
            client.subscribe([(name, SubscribeOptions(qos=0)) for name in options.filters])
        else:
            client.subscribe([(name, 0) for name in options.filters])

    def on_subscribe(_client, _userdata, _mid, reasons, _properties):
        granted = len(reasons) == len(options.filters) and all(reason == 0 for reason in reasons)
        say("subscribed" if granted else f"not granted: {[str(reason) for reason in reasons]}")

    def on_message(_client, _userdata, message):
        say("message", message.topic, message.payload.hex())

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_unsubscribe = lambda *_: say("unsubscribed")
    client.on_disconnect = lambda *_: say("disconnected")
    client.connect(options.host, options.port)
    client.loop_start()
    for line in sys.stdin:
        command, _, name = line.rstrip("\n").partition(" ")
        if command != "unsubscribe":
            sys.exit(f"no such command: {command}")
        client.unsubscribe(name)
    client.disconnect()
    client.loop_stop()


def publish(options):
    payload = sys.stdin.buffer.read()
    client = new_client(options)
    # A packet queued before the CONNACK has come may be lost when it does not fit into the socket at once.
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(options.host, options.port)
    client.loop_start()
    if not connected.wait(TIMEOUT_S):
        sys.exit("not connected in time")
    if options.count is None:
        topics = [options.topic]
    else:
        topics = [options.topic.replace("{}", str(number)) for number in range(options.count)]
    for sent in [client.publish(topic, payload, qos=0) for topic in topics]:
        sent.wait_for_publish(TIMEOUT_S)
        if not sent.is_published():
            sys.exit("not published in time")
    client.disconnect()
    client.loop_stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--version", required=True, choices=VERSIONS)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("sub")
    sub.add_argument("filters", nargs="+")
    sub.set_defaults(run=subscribe)
    pub = commands.add_parser("pub")
    pub.add_argument("topic")
    pub.add_argument("--count", type=int)
    pub.set_defaults(run=publish)
    options = parser.parse_args()
    options.run(options)


main()
