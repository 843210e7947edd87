//! Connections whose CONNECT is not accepted yet: how many there are, in all and for each address, and the bytes of
//! their CONNECTs that wait for the rest.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use foldhash::HashMap;

use crate::base::limits::Limits;
use crate::base::sync::{AtomicUsize, Mutex, Ordering, rank};

/// All connections that are not authenticated.
#[derive(Debug, Default)]
pub(crate) struct Unauthenticated {
    connections: AtomicUsize,
    bytes: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, u32>, { rank::LEAF }>,
}

/// A limit that they exceed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Connections,
    Bytes,
}

/// The address has as many as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressFull;

/// The share of one connection. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<Unauthenticated>,
    address: Option<IpAddr>,
    bytes: usize,
    /// Of these, the ones that the transport holds.
    below_bytes: usize,
}

impl Unauthenticated {
    /// Counts a new connection, unless its address has as many as allowed.
    pub(crate) fn enter(self: &Arc<Self>, peer: Option<SocketAddr>, limits: &Limits) -> Result<Share, AddressFull> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut share = Share { all: Arc::clone(self), address: None, bytes: 0, below_bytes: 0 };
        match peer {
            Some(peer) => share.enter_address(peer, limits).map(|()| share),
            None => Ok(share),
        }
    }

    /// The limit that all of them together exceed.
    pub(crate) fn exceeded(&self, limits: &Limits) -> Option<Exceeded> {
        if self.connections.load(Ordering::Relaxed) > limits.unauthenticated_count_max as usize {
            return Some(Exceeded::Connections);
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        (bytes > limits.unauthenticated_bytes_max).then_some(Exceeded::Bytes)
    }
}

/// Most connections of an address. The clients of this machine share one, and have no limit by default.
fn most_of(address: IpAddr, limits: &Limits) -> Option<u32> {
    let is_unlimited = limits.unauthenticated_per_address_max.is_none() && address.to_canonical().is_loopback();
    (!is_unlimited).then(|| limits.unauthenticated_per_address())
}

/// The part of an address that stands for one party: a network of IPv6 gives each machine any number of addresses.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

impl Share {
    /// Counts the connection for its address, once that is known, unless the address has as many as allowed.
    pub(crate) fn enter_address(&mut self, peer: SocketAddr, limits: &Limits) -> Result<(), AddressFull> {
        let Some(most) = most_of(peer.ip(), limits).filter(|_| self.address.is_none()) else { return Ok(()) };
        let address = network_of(peer.ip().to_canonical());
        let mut addresses = self.all.addresses.lock();
        let count = addresses.entry(address).or_default();
        if *count >= most {
            return Err(AddressFull);
        }
        *count += 1;
        drop(addresses);
        self.address = Some(address);
        Ok(())
    }

    /// Notes how many bytes of packets the connection holds now.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.count(bytes + self.below_bytes);
    }

    /// Notes how many bytes its transport holds now.
    pub(crate) fn hold_below(&mut self, bytes: usize) {
        let of_packets = self.bytes - self.below_bytes;
        self.below_bytes = bytes;
        self.count(of_packets + bytes);
    }

    fn count(&mut self, bytes: usize) {
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count(0);
        self.all.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut addresses = self.all.addresses.lock();
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn each_address_has_its_own_limit_and_loopback_none_by_default() {
        let all = Arc::<Unauthenticated>::default();
        let enter = |address: &str, limits: &Limits| all.enter(peer(address), limits);
        for few in ["192.0.2.1", "2001:db8::1"] {
            let shares: Vec<_> = (0..256).map(|_| enter(few, &Limits::DEFAULT).unwrap()).collect();
            assert_eq!(enter(few, &Limits::DEFAULT).err(), Some(AddressFull));
            assert!(enter("192.0.2.2", &Limits::DEFAULT).is_ok());
            drop(shares);
            assert!(enter(few, &Limits::DEFAULT).is_ok());
        }
        let _one =
            enter("2001:db8::1", &Limits::DEFAULT.with(|limits| limits.unauthenticated_per_address_max = Some(1)));
        let one = Limits::DEFAULT.with(|limits| limits.unauthenticated_per_address_max = Some(1));
        assert!(enter("2001:db8::ffff", &one).is_err(), "of the same network");
        assert!(enter("2001:db8:0:1::1", &one).is_ok());
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            let shares: Vec<_> = (0..1_000).map(|_| enter(loopback, &Limits::DEFAULT).unwrap()).collect();
            drop(shares);
            let _first = enter(loopback, &one).unwrap();
            assert!(enter(loopback, &one).is_err(), "{loopback}: unless a limit is set");
        }
    }

    #[test]
    fn an_address_that_is_told_later_has_the_same_limit() {
        let all = Arc::<Unauthenticated>::default();
        let one = Limits::DEFAULT.with(|limits| limits.unauthenticated_per_address_max = Some(1));
        let [mut first, mut second] = [all.enter(None, &one).unwrap(), all.enter(None, &one).unwrap()];
        let address = peer("192.0.2.1").unwrap();
        assert_eq!(first.enter_address(address, &one), Ok(()));
        assert_eq!(
            (second.enter_address(address, &one), all.enter(Some(address), &one).err()),
            (Err(AddressFull), Some(AddressFull))
        );
        drop(second);
        assert!(all.enter(Some(address), &one).is_err(), "the second never counted");
        drop(first);
        assert!(all.enter(Some(address), &one).is_ok());
        assert_eq!(all.connections.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn connections_and_bytes_are_counted_until_the_share_ends() {
        let all = Arc::<Unauthenticated>::default();
        let limits = Limits::DEFAULT.with(|limits| {
            limits.unauthenticated_count_max = 2;
            limits.unauthenticated_bytes_max = 100;
        });
        let mut shares: Vec<Share> = (0..2).map(|_| all.enter(None, &limits).unwrap()).collect();
        assert_eq!(all.exceeded(&limits), None);
        shares.push(all.enter(None, &limits).unwrap());
        assert_eq!(all.exceeded(&limits), Some(Exceeded::Connections));
        shares.pop();
        shares[0].hold(60);
        shares[1].hold(41);
        assert_eq!(all.exceeded(&limits), Some(Exceeded::Bytes));
        shares[0].hold(59);
        assert_eq!(all.exceeded(&limits), None);
        shares[0].hold_below(1);
        assert_eq!(all.exceeded(&limits), Some(Exceeded::Bytes), "the transport's count too");
        shares[0].hold(50);
        shares[0].hold_below(9);
        assert_eq!((shares[0].bytes, all.exceeded(&limits)), (59, None));
        shares.clear();
        assert_eq!((all.connections.load(Ordering::Relaxed), all.bytes.load(Ordering::Relaxed)), (0, 0));
        assert!(all.addresses.lock().is_empty());
    }
}
