//! A program with a broker inside and no listener: simulated thermostats report their temperatures and answer requests,
//! and an operator collects the reports, sets a target, and hears of a thermostat that fails.
//!
//! ```text
//! cargo run -p wisp-broker --features in-process --example device_simulator
//! ```

use std::error::Error;
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use wisp_broker::{Broker, ClientOptions, Config, Control, InProcessClient, Publication, QoS, Subscription};

type Failure = Box<dyn Error + Send + Sync>;

const DEVICES: u32 = 5;
const REPORT_EVERY: Duration = Duration::from_millis(20);

fn main() -> Result<(), Failure> {
    let broker = Broker::start(Config::builder().without_listener().build()?)?;
    let operator = broker.client(&ClientOptions::builder("operator").build()?)?;
    let subscription = |filter: &str| Subscription::new(filter, QoS::AtLeastOnce);
    operator.subscribe(&[subscription("reports/+"), subscription("answers"), subscription("failures")])?;
    let control = broker.control();
    thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICES)
            .map(|number| {
                let control = control.clone();
                scope.spawn(move || simulate(number, &control))
            })
            .collect();
        let outcome = operate(&operator);
        if outcome.is_err() {
            // The devices would wait for their targets.
            control.stop();
        }
        outcome?;
        devices.into_iter().try_for_each(|device| device.join().map_err(|_| "a device panicked")?)
    })?;
    operator.disconnect();
    broker.shutdown()?;
    Ok(())
}

/// Collects a report of each device, then sets the target of all. The last one fails at that.
fn operate(operator: &InProcessClient) -> Result<(), Failure> {
    let mut reports = [None; DEVICES as usize];
    let (mut answers, mut failures) = (0, 0);
    while answers + failures < DEVICES {
        let message = operator.messages().recv()?;
        let text = str::from_utf8(message.payload())?;
        match message.topic().split_once('/') {
            Some(("reports", number)) => {
                let number: usize = number.parse()?;
                let is_last = reports.iter().enumerate().all(|(other, report)| other == number || report.is_some());
                if reports[number].replace(text.parse::<f64>()?).is_none() && is_last {
                    println!("all devices have reported: {reports:?}");
                    set_target(operator, "19.5")?;
                }
            }
            _ if &**message.topic() == "answers" => {
                println!("answer: {text}");
                answers += 1;
            }
            _ => {
                println!("failure: {text}");
                failures += 1;
            }
        }
    }
    if failures == 1 { Ok(()) } else { Err("the last device fails, and no other".into()) }
}

fn set_target(operator: &InProcessClient, target: &'static str) -> Result<(), Failure> {
    for number in 0..DEVICES {
        let request = Publication::new(format!("devices/{number}/target"), target)
            .qos(QoS::AtLeastOnce)
            .with_properties(|properties| properties.response_topic = Some("answers".into()));
        operator.publish(&request)?.wait()?;
    }
    Ok(())
}

/// One device, until it has been given a target.
fn simulate(number: u32, control: &Control) -> Result<(), Failure> {
    // The broker publishes the will if the device ends without having disconnected.
    let will = Publication::new("failures", format!("device {number}")).qos(QoS::AtLeastOnce);
    let client = control.client(&ClientOptions::builder(format!("device-{number}")).will(will).build()?)?;
    let filter = format!("devices/{number}/#");
    client.subscribe(&[Subscription::new(filter, QoS::AtLeastOnce)])?;
    let mut temperature = 20.0 + f64::from(number);
    loop {
        match client.messages().recv_timeout(REPORT_EVERY) {
            // The last device fails: it ends without having disconnected.
            Ok(_) if number == DEVICES - 1 => return Ok(()),
            Ok(request) => {
                let answer = format!("device {number} heats to {}", str::from_utf8(request.payload())?);
                let response = request.response(answer).ok_or("the operator wants an answer")?;
                client.publish(&response.qos(QoS::AtLeastOnce))?.wait()?;
                client.disconnect();
                return Ok(());
            }
            Err(RecvTimeoutError::Timeout) => {
                temperature -= 0.1;
                let report = Publication::new(format!("reports/{number}"), format!("{temperature:.1}"));
                client.publish(&report.qos(QoS::AtLeastOnce))?;
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the broker has ended".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs_to_its_end() {
        super::main().expect("nothing fails but the device that shall");
    }
}
