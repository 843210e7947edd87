//! mosquitto_pub and mosquitto_sub use all features of a session.

use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, Host};
use wisp_e2e::mosquitto::{Subscriber, client_command, publish_lines, run_publisher};
use wisp_e2e::program::{Finished, Program};

/// More messages than mosquitto_sub's window. With a broker that exceeds the window, mosquitto_sub would give
/// up.
fn line_count() -> usize {
    if Host::current().lacks(Ability::Windows).is_some() { 15 } else { 300 }
}

/// Runs mosquitto_sub until it ends by itself; it prints QoS, RETAIN, topic and payload.
fn subscribe_to_the_end(broker: &Broker, version: Version, arguments: &[&str]) -> Vec<String> {
    let mut command: Command = client_command("mosquitto_sub", broker.addr(), version);
    command.args(["-F", "%q %r %t %p"]).args(arguments);
    succeed(Program::run(command, b"")).stdout
}

fn publish(broker: &Broker, version: Version, arguments: &[&str], input: &str) {
    succeed(run_publisher(broker.addr(), version, arguments, input.as_bytes()));
}

fn succeed(finished: Finished) -> Finished {
    assert!(finished.status.success(), "{}: {:?}", finished.status, finished.stderr);
    finished
}

fn lines() -> Vec<String> {
    (0..line_count()).map(|number| format!("line {number}")).collect()
}

#[test]
fn mosquitto_clients_exchange_messages_at_every_qos() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in ["0", "1", "2"] {
            let topic = format!("exchange/{version:?}/{qos}");
            let subscriber = Subscriber::start_with_arguments(broker.addr(), version, &[&topic], &["-q", qos]);
            publish_lines(broker.addr(), version, &topic, &["-q", qos], &lines());
            let messages = subscriber.wait_for_messages(line_count());
            let texts = messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            assert!(texts.eq(lines()), "{version:?} QoS {qos}: {messages:?}");
            subscriber.settle();
            assert_eq!(subscriber.messages().len(), line_count(), "{version:?} QoS {qos}");
        }
    }
}

#[test]
fn mosquitto_clients_store_and_clear_retained_messages() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in ["0", "1", "2"] {
            let topic = format!("kept/{version:?}/{qos}");
            publish(&broker, version, &["-r", "-q", qos, "-t", &topic, "-m", "text"], "");
            let once = ["-q", "2", "-C", "1", "-t", &topic];
            assert_eq!(subscribe_to_the_end(&broker, version, &once), [format!("{qos} 1 {topic} text")]);
            publish(&broker, version, &["-r", "-q", qos, "-t", &topic, "-n"], "");
            // Only a message that is not retained ends mosquitto_sub if the topic is cleared.
            publish(&broker, version, &["-r", "-q", qos, "-t", &format!("{topic}/end"), "-m", "end"], "");
            let once = ["-q", "2", "-C", "1", "-t", &topic, "-t", &format!("{topic}/end")];
            assert_eq!(subscribe_to_the_end(&broker, version, &once), [format!("{qos} 1 {topic}/end end")]);
        }
    }
}

#[test]
fn mosquitto_sub_resumes_its_session() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in ["1", "2"] {
            let id = format!("away {version:?} {qos}");
            let topic = format!("away/{version:?}/{qos}");
            let mut session = vec!["-i", &id, "-c", "-q", qos];
            if version.is_v5() {
                session.extend(["-x", "3600"]);
            }
            // -E: mosquitto_sub ends when it has subscribed.
            assert_eq!(
                subscribe_to_the_end(&broker, version, &[&session[..], &["-t", &topic, "-E"]].concat()),
                [""; 0]
            );
            publish_lines(broker.addr(), version, &topic, &["-q", qos], &lines());
            let count = line_count().to_string();
            let come = subscribe_to_the_end(&broker, version, &[&session[..], &["-t", &topic, "-C", &count]].concat());
            let expected = lines().into_iter().map(|line| format!("{qos} 0 {topic} {line}"));
            assert!(come.iter().cloned().eq(expected), "{version:?} QoS {qos}: {come:?}");
        }
    }
}

#[test]
fn mosquitto_sub_leaves_wills_at_every_qos() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in ["0", "1", "2"] {
            let topic = format!("wills/{version:?}/{qos}");
            let heir = Subscriber::start_with_arguments(broker.addr(), version, &[&topic], &["-q", "2"]);
            let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", qos, "--will-retain"];
            drop(Subscriber::start_with_arguments(broker.addr(), version, &["anything"], &will));
            heir.wait_for_messages(1);
            let once = ["-q", "2", "-C", "1", "-t", &topic];
            assert_eq!(subscribe_to_the_end(&broker, version, &once), [format!("{qos} 1 {topic} gone")]);
        }
    }
}

#[test]
fn mosquitto_clients_pass_properties_of_mqtt_5() {
    let broker = Broker::start();
    let subscriber = Program::start({
        let mut command = client_command("mosquitto_sub", broker.addr(), Version::V5);
        command.args(["-q", "1", "-t", "rich", "-C", "1", "-F", "%C|%R|%D|%F|%P"]);
        command
    });
    // mosquitto_sub does not report its subscription, so the message is a retained one.
    let properties = [
        ["content-type", "text/plain"],
        ["response-topic", "answers"],
        ["correlation-data", "42"],
        ["payload-format-indicator", "1"],
    ];
    let mut arguments = vec!["-r", "-q", "1", "-t", "rich", "-m", "text", "-D", "publish", "user-property", "a", "b"];
    arguments.extend(properties.iter().flat_map(|[name, value]| ["-D", "publish", name, value]));
    publish(&broker, Version::V5, &arguments, "");
    let line = subscriber.wait_stdout("the message", |lines| lines.first().cloned());
    assert_eq!(line, "text/plain|answers|42|1|a:b");
}
