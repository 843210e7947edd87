//! A broker in this process: messages between clients without sockets, beside the same over loopback, where this
//! process has the generator too.
//!
//! Processor time is that of the whole process: broker, sender and receiver. The generator checks each message, and the
//! clients in the process count them. `embed [MESSAGES [REPETITIONS]]`; status 1 if messages are lost.

use std::error::Error;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use wisp_broker::{Broker, ClientOptions, Config, Host, Limits, Publication, QoS, StallPolicy, Subscription, SysHost};
use wisp_loadgen::Target;

type Failure = Box<dyn Error + Send + Sync>;

const PAYLOAD_BYTES: usize = 1024;
const IDLE_CLIENTS: usize = 10_000;

/// The figures of one run.
struct Sample {
    messages_per_s: f64,
    /// Microseconds of processor time for each message.
    processor_us: f64,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let messages: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let repetitions: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    println!(
        "1 KB, (1,1), {messages} messages, medians of {repetitions}; processor time of broker and clients together"
    );
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut within, mut over) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            within.push(within_the_process(messages, qos)?);
            over.push(over_loopback(messages, qos)?);
        }
        let (rate, processor) = (median(&within, |sample| sample.messages_per_s), median(&within, |s| s.processor_us));
        let (base, base_processor) = (median(&over, |sample| sample.messages_per_s), median(&over, |s| s.processor_us));
        println!(
            "QoS {}: in process {rate:.0}/s, {processor:.3} us; loopback {base:.0}/s, {base_processor:.3} us; \
             rate {:.2} times, processor time {:.2} times",
            qos as u8,
            rate / base,
            processor / base_processor
        );
    }
    println!("memory of an idle client: {:.0} bytes", memory_of_a_client()?);
    Ok(())
}

fn broker() -> Result<Broker, Failure> {
    let limits = Limits::DEFAULT.with(|limits| limits.stall_policy = StallPolicy::Hold);
    let config = Config::builder().listener(([127, 0, 0, 1], 0)).workers(NonZeroUsize::new(2)).limits(limits);
    Ok(Broker::start(config.build()?)?)
}

fn within_the_process(messages: u64, qos: QoS) -> Result<Sample, Failure> {
    let broker = broker()?;
    let receiver = broker.client(&ClientOptions::builder("receiver").build()?)?;
    receiver.subscribe(&[Subscription::new("t", qos)])?;
    let sender = broker.client(&ClientOptions::builder("sender").build()?)?;
    let (begun, processor) = (Instant::now(), processor_time()?);
    thread::scope(|scope| -> Result<(), Failure> {
        let sending = scope.spawn(|| {
            // Not on the receiver's stack, which it writes to all the time.
            let publication = Publication::new("t", vec![7; PAYLOAD_BYTES]).qos(qos);
            (0..messages).try_for_each(|_| sender.publish(&publication).map(drop))
        });
        for _ in 0..messages {
            let message = receiver.messages().recv_timeout(Duration::from_secs(30))?;
            assert_eq!(message.payload().len(), PAYLOAD_BYTES);
        }
        sending.join().map_err(|_| "the sender panicked")??;
        Ok(())
    })?;
    sample(messages, begun.elapsed(), processor_time()?.saturating_sub(processor))
}

fn over_loopback(messages: u64, qos: QoS) -> Result<Sample, Failure> {
    let broker = broker()?;
    let target: Target = format!("mqtt://{}", broker.local_addrs()[0]).parse()?;
    let mut config = wisp_loadgen::Config::new(target);
    (config.messages, config.size, config.qos) = (messages, PAYLOAD_BYTES, qos);
    let processor = processor_time()?;
    let results = wisp_loadgen::run(&config, &())?;
    let processor = processor_time()?.saturating_sub(processor);
    if !results.is_good() {
        return Err(format!("messages over loopback: {:?}", results.fault()).into());
    }
    sample(messages, Duration::from_secs_f64(results.seconds), processor)
}

fn sample(messages: u64, elapsed: Duration, processor: Duration) -> Result<Sample, Failure> {
    let messages = messages as f64;
    Ok(Sample {
        messages_per_s: messages / elapsed.as_secs_f64(),
        processor_us: processor.as_secs_f64() * 1e6 / messages,
    })
}

fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn processor_time() -> Result<Duration, Failure> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

fn memory_of_a_client() -> Result<f64, Failure> {
    let broker = broker()?;
    let resident = || SysHost.memory_bytes().ok_or("the system does not tell the memory of a process");
    let connect = |number: usize| -> Result<_, Failure> {
        Ok(broker.client(&ClientOptions::builder(format!("client-{number}")).build()?)?)
    };
    let before = resident()?;
    let clients: Result<Vec<_>, _> = (0..IDLE_CLIENTS - 1).map(connect).collect();
    let clients = clients?;
    Ok((resident()? - before) as f64 / clients.len() as f64)
}
