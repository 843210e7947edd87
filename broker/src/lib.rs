//! The Wisp MQTT broker: a library to embed and the program wisp-broker.
