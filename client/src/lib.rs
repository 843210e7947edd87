//! A blocking MQTT client and the program wisp.
