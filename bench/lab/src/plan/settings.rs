//! The typed settings of a sample, by its kind.

use std::collections::BTreeMap;

use wisp_report::kind::Kind;

use crate::plan::error::SettingError;
use crate::plan::field::Combination;
use crate::plan::load::{BrokerSetup, Connections, Load};
use crate::plan::programs::{Compute, Start, Transfer};
use crate::plan::setting::{Setting, Value};

/// How long the maximum of a broker is measured at most, each time.
const MAXIMUM_S: f64 = 2.0;

/// The settings of a sample.
#[derive(Clone, PartialEq, Debug)]
pub enum Settings {
    /// Messages a second.
    Throughput(Load),
    /// How long messages take at a fixed rate.
    Latency(Load),
    /// The rate of opening connections, and their cost.
    Connections(Connections),
    /// Messages over plain TCP.
    Transfer(Transfer),
    /// Starting a broker.
    Start(Start),
    /// A runtime without a network.
    Compute(Compute),
}

impl Settings {
    /// The kind of measurement.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Throughput(_) => Kind::Throughput,
            Self::Latency(_) => Kind::Latency,
            Self::Connections(_) => Kind::Connections,
            Self::Transfer(_) => Kind::Transfer,
            Self::Start(_) => Kind::Start,
            Self::Compute(_) => Kind::Compute,
        }
    }

    /// The load; None of the kinds that send no messages through a broker for their own sake.
    #[must_use]
    pub fn load(&self) -> Option<&Load> {
        match self {
            Self::Throughput(load) | Self::Latency(load) => Some(load),
            Self::Connections(_) | Self::Transfer(_) | Self::Start(_) | Self::Compute(_) => None,
        }
    }

    /// The broker that the load generator drives; None of the kinds of other programs.
    #[must_use]
    pub fn broker(&self) -> Option<&BrokerSetup> {
        match self {
            Self::Throughput(load) | Self::Latency(load) => Some(&load.broker),
            Self::Connections(connections) => Some(&connections.broker),
            Self::Transfer(_) | Self::Start(_) | Self::Compute(_) => None,
        }
    }

    /// Reads one combination of a kind's settings.
    pub(super) fn read(kind: Kind, from: &mut Combination) -> Result<Self, SettingError> {
        Ok(match kind {
            Kind::Throughput => Self::Throughput(Load::read(from)?),
            Kind::Latency => Self::Latency(Load::read(from)?),
            Kind::Connections => Self::Connections(Connections::read(from)?),
            Kind::Transfer => Self::Transfer(Transfer::read(from)?),
            Kind::Start => Self::Start(Start::read(from)?),
            Kind::Compute => Self::Compute(Compute::read(from)?),
        })
    }

    /// The values as plans write them.
    pub(super) fn values(&self) -> BTreeMap<Setting, Value> {
        match self {
            Self::Throughput(load) | Self::Latency(load) => load.write(),
            Self::Connections(connections) => connections.write(),
            Self::Transfer(transfer) => transfer.write(),
            Self::Start(start) => start.write(),
            Self::Compute(compute) => compute.write(),
        }
        .0
    }

    /// Removes settings that have no meaning beside the others, so that combinations that differ in nothing else become
    /// one.
    pub(super) fn settle(&mut self) {
        match self {
            Self::Throughput(load) | Self::Latency(load) => load.settle(),
            Self::Connections(connections) => connections.settle(),
            Self::Transfer(_) | Self::Start(_) | Self::Compute(_) => {}
        }
    }

    /// Checks that the settings go together.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        match self {
            Self::Throughput(load) => load.check(false),
            Self::Latency(load) => load.check(true),
            Self::Connections(connections) => connections.check(),
            Self::Transfer(_) | Self::Start(_) | Self::Compute(_) => Ok(()),
        }
    }

    /// The measurement that precedes a latency at a share of the maximum: the same at full speed. None if this is no such
    /// latency.
    pub(super) fn maximum(&self) -> Option<Self> {
        let load = self.load().filter(|load| load.load_percent.is_some())?;
        let seconds = load.seconds.map_or(MAXIMUM_S, |seconds| seconds.min(MAXIMUM_S));
        Some(Self::Throughput(Load { load_percent: None, messages: None, seconds: Some(seconds), ..load.clone() }))
    }
}
