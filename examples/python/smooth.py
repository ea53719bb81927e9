"""Takes temperatures and gives their moving average.

A module of Wayside in Python with paho-mqtt: all it needs to know comes in the environment that the daemon sets.
"""

import collections
import json
import os
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

last = collections.deque(maxlen=int(os.environ.get("WINDOW", "3")))


def on_connect(client, userdata, flags, reason_code, properties):
    if reason_code.is_failure:
        # The daemon may still be reading its workload: paho tries again.
        print(f"the daemon says: {reason_code}", file=sys.stderr, flush=True)
        return
    # Whatever routes bring here. A subscription outlives a restart of either side.
    client.subscribe("#", qos=1)


def on_message(client, userdata, message):
    try:
        last.append(float(json.loads(message.payload)["celsius"]))
    except (ValueError, KeyError, TypeError) as error:
        print(f"{message.topic} is no temperature: {error}", file=sys.stderr, flush=True)
        return
    # QoS 1: acknowledged once it is on the device's disk. paho sends it again if the connection breaks before.
    client.publish("average", json.dumps({"celsius": round(sum(last) / len(last), 2)}), qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="smooth", protocol=mqtt.MQTTv5)
client.username_pw_set(os.environ["WAYSIDE_MQTT_USERNAME"], os.environ["WAYSIDE_MQTT_PASSWORD"])
client.on_connect = on_connect
client.on_message = on_message
client.reconnect_delay_set(min_delay=1, max_delay=5)

# What comes while this module is being restarted waits for it.
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 24 * 3600
client.connect_async(
    os.environ["WAYSIDE_MQTT_HOST"],
    int(os.environ["WAYSIDE_MQTT_PORT"]),
    clean_start=False,
    properties=session,
)
client.loop_forever(retry_first_connection=True)
