//! All combinations of a plan's settings, as typed settings.

use std::collections::BTreeMap;

use crate::plan::error::{Fault, POINTS_MAX, SettingError};
use crate::plan::field::Combination;
use crate::plan::setting::{Setting, Value};
use crate::plan::settings::Settings;
use crate::plan::values::{Written, values_of};
use wisp_report::kind::Kind;

use Kind::{Connections, Latency, Throughput};

/// Settings as they are written: a value, a list, or a range in text.
pub type WrittenSettings = BTreeMap<Setting, Written>;

/// Puts `more` over `settings`. A new setting removes the one that it excludes.
pub(super) fn put_over(settings: &mut WrittenSettings, more: &WrittenSettings) {
    for (setting, written) in more {
        if let Some(displaced) = setting.in_place_of().filter(|displaced| !more.contains_key(displaced)) {
            settings.remove(&displaced);
        }
        settings.insert(*setting, written.clone());
    }
}

/// The defaults of a kind.
fn defaults(kind: Kind, processors: usize) -> WrittenSettings {
    let whole = |setting, number: usize| (setting, Written::Whole(number as u64));
    let text = |setting, text: &str| (setting, Written::Text(text.to_owned()));
    let of_brokers =
        [whole(Setting::Workers, processors), text(Setting::MqttVersion, "3.1.1"), whole(Setting::TimeoutS, 60)];
    match kind {
        Throughput | Latency => of_brokers
            .into_iter()
            .chain([
                text(Setting::Pattern, "one-to-one"),
                whole(Setting::Qos, 0),
                whole(Setting::Window, 1000),
                whole(Setting::SizeBytes, 1024),
                whole(Setting::Senders, 1),
                whole(Setting::Receivers, 1),
                (Setting::Seconds, Written::Number(2.0)),
                whole(Setting::Threads, (processors / 2).max(2)),
            ])
            .collect(),
        Connections => of_brokers.into_iter().chain([whole(Setting::Connections, 1000)]).collect(),
        Kind::Transfer | Kind::Start | Kind::Compute => WrittenSettings::new(),
    }
}

/// All combinations of the settings, each once.
///
/// # Errors
/// The first setting that is wrong.
pub(super) fn combinations(
    kind: Kind,
    written: &WrittenSettings,
    processors: usize,
) -> Result<Vec<Settings>, SettingError> {
    let mut all = defaults(kind, processors);
    put_over(&mut all, written);
    if kind.is_of_load() && !all.contains_key(&Setting::Broker) {
        return Err(Fault::NoBroker.of(Setting::Broker));
    }
    if kind == Latency && !all.contains_key(&Setting::RatePerS) && !all.contains_key(&Setting::LoadPercent) {
        return Err(Fault::NoRate.of(Setting::LoadPercent));
    }
    for setting in [Setting::Messages, Setting::RatePerS] {
        if let Some(other) = setting.in_place_of().filter(|other| all.contains_key(other) && all.contains_key(&setting))
        {
            return Err(Fault::Both(other).of(setting));
        }
    }
    let are_receivers_set = written.contains_key(&Setting::Receivers);
    let mut kept = Vec::new();
    for mut combination in multiplied_out(kind, &all, processors)? {
        let mut settings = Settings::read(kind, &mut combination)?;
        if let Settings::Throughput(load) | Settings::Latency(load) = &mut settings
            && load.broker.choice.is_sink()
            && !are_receivers_set
        {
            // Nobody can receive from one that forwards nothing.
            load.receivers = 0;
        }
        settings.settle();
        settings.check()?;
        if !kept.contains(&settings) {
            kept.push(settings);
        }
    }
    Ok(kept)
}

/// The combinations of all values, the last setting's changing fastest.
fn multiplied_out(kind: Kind, all: &WrittenSettings, processors: usize) -> Result<Vec<Combination>, SettingError> {
    let mut combined = vec![Combination::default()];
    for (setting, written) in all {
        let values = values_of(kind, *setting, written, processors).map_err(|error| Fault::from(error).of(*setting))?;
        if combined.len() * values.len() > POINTS_MAX {
            return Err(Fault::Combinations.of(*setting));
        }
        let with = |combination: &Combination, value: &Value| {
            let mut combination = combination.clone();
            combination.0.insert(*setting, value.clone());
            combination
        };
        combined =
            combined.iter().flat_map(|combination| values.iter().map(move |value| with(combination, value))).collect();
    }
    Ok(combined)
}
