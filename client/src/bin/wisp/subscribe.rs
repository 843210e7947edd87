//! `wisp sub`: what is received goes to standard output, a line each.

use std::io::{self, Write};
use std::time::Duration;

use wisp_client::{Client, Message};

use crate::args::Subscribe;
use crate::{Failure, connect};

pub(crate) fn run(options: &Subscribe) -> Result<(), Failure> {
    let mut client = connect(&options.server)?;
    let filters: Vec<_> = options.topics.iter().map(String::as_str).collect();
    let codes = client.subscribe(&filters)?;
    if let Some((filter, code)) = filters.iter().zip(codes).find(|(_, code)| code.is_error()) {
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
        // Lines are held back only as long as more are there already.
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

fn print(output: &mut impl Write, message: &Message, verbose: bool) -> io::Result<()> {
    if verbose {
        write!(output, "{} ", message.topic)?;
    }
    output.write_all(&message.payload)?;
    output.write_all(b"\n")
}
