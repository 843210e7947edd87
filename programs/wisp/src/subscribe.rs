//! `wisp sub`: prints each received message on standard output, one per line.

use std::io::{self, Write};
use std::time::Duration;

use wisp_client::{Client, Message, SubscriptionOptions};

use crate::args::Subscribe;
use crate::connect::connect;
use crate::failure::Failure;

pub(crate) fn run(options: &Subscribe) -> Result<(), Failure> {
    let mut client = connect(&options.server)?;
    let how = SubscriptionOptions {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling,
    };
    let filters: Vec<_> = options.topics.iter().map(|topic| (topic.as_str(), how)).collect();
    let codes = client.subscribe_with(&filters, options.subscription_id)?;
    if let Some(((filter, _), code)) = filters.iter().zip(codes).find(|(_, code)| code.is_error()) {
        return Err(Failure::Refused(format!("the broker refused the subscription to {filter:?}: {code}")));
    }
    print_messages(&mut client, options)?;
    client.disconnect()?;
    Ok(())
}

fn print_messages(client: &mut Client, options: &Subscribe) -> Result<(), Failure> {
    let mut output = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        // Lines stay in the buffer only while further messages are there already.
        let message = match client.recv(Duration::ZERO)? {
            Some(message) => message,
            None => {
                output.flush().map_err(|error| Failure::of_output(&error))?;
                let Some(message) = client.recv(Duration::MAX)? else { continue };
                message
            }
        };
        print(&mut output, &message, options.verbose).map_err(|error| Failure::of_output(&error))?;
        left -= 1;
    }
    output.flush().map_err(|error| Failure::of_output(&error))
}

fn print(output: &mut impl Write, message: &Message, verbose: u8) -> io::Result<()> {
    if verbose > 1 {
        write!(output, "[qos {}", message.qos as u8)?;
        if message.dup {
            output.write_all(b", again")?;
        }
        if message.retain {
            output.write_all(b", retained")?;
        }
        for id in &message.subscription_ids {
            write!(output, ", id {id}")?;
        }
        output.write_all(b"] ")?;
    }
    if verbose > 0 {
        write!(output, "{} ", message.topic)?;
    }
    output.write_all(&message.payload)?;
    output.write_all(b"\n")
}
