//! wisp-loadgen: drives an MQTT broker and checks what comes back.
