//! Connecting with the options of the command line.

use wisp_client::{Client, ConnectOptions, Error, Will};

use crate::args::Server;
use crate::failure::Failure;

/// The number of topic aliases that the broker may assign with `--topic-aliases`.
const TOPIC_ALIAS_MAX: u16 = 1000;

/// Connects to the first of the server's addresses that answers.
pub(crate) fn connect(server: &Server) -> Result<Client, Failure> {
    let mut options = ConnectOptions::new(server.mqtt_version).with_user_of(&server.url);
    options.keep_alive_s = server.keep_alive_s;
    if let Some(id) = &server.client_id {
        options.client_id.clone_from(id);
    }
    options.clean_start = server.clean_start || server.session_expiry_s == 0;
    if server.mqtt_version.is_v5() {
        options.session_expiry_s = server.session_expiry_s;
    } else if server.clean_start && server.session_expiry_s > 0 {
        // In MQTT 3 one flag stands for both.
        let text = format!("{} cannot begin a new session and keep it", server.mqtt_version);
        return Err(Failure::Usage(text));
    }
    if server.topic_aliases {
        (options.use_topic_aliases, options.topic_alias_max) = (true, TOPIC_ALIAS_MAX);
    }
    let will = &server.will;
    options.will = will.will_topic.as_ref().map(|topic| {
        let mut message = Will::new(topic, will.will_message.as_str());
        (message.qos, message.retain, message.delay_s) = (will.will_qos, will.will_retain, will.will_delay_s);
        message
    });
    let mut last = None;
    for address in server.url.resolve()? {
        match Client::connect(address, options.clone()) {
            Ok(client) => return Ok(client),
            Err(error @ Error::Connect { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.expect("resolve gives one address at least").into())
}
