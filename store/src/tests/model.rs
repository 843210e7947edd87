//! A store as simple as can be: a list of objects.

use crate::{Live, Log};

/// The objects in the order of their first put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    objects: Vec<Live>,
}

impl Model {
    pub(super) fn of(objects: &[Live]) -> Self {
        Self { objects: objects.to_vec() }
    }

    pub(super) fn objects(&self) -> &[Live] {
        &self.objects
    }

    fn get(&self, key: u64) -> Option<&Live> {
        self.objects.iter().find(|object| object.key == key)
    }

    fn is_referred_to(&self, key: u64) -> bool {
        self.objects.iter().any(|object| object.refers_to == Some(key))
    }

    /// Whether a put under the key follows the rules.
    pub(super) fn may_put(&self, key: u64) -> bool {
        self.get(key).is_some() || !self.is_referred_to(key)
    }

    /// The same change here and in a log.
    pub(super) fn put(&mut self, log: &Log, mut object: Live) {
        log.put(object.key, object.kind, object.refers_to, object.shared, &[&object.body]);
        object.refers_to = object.refers_to.filter(|target| *target != object.key && self.get(*target).is_some());
        match self.objects.iter().position(|old| old.key == object.key) {
            None => self.objects.push(object),
            Some(index) => {
                let old = std::mem::replace(&mut self.objects[index], object);
                self.take_back(old.refers_to);
            }
        }
    }

    pub(super) fn delete(&mut self, log: &Log, key: u64) {
        log.delete(key);
        self.remove(key);
    }

    fn remove(&mut self, key: u64) {
        if let Some(index) = self.objects.iter().position(|object| object.key == key) {
            let old = self.objects.remove(index);
            self.take_back(old.refers_to);
        }
    }

    fn take_back(&mut self, target: Option<u64>) {
        if let Some(target) = target
            && self.get(target).is_some_and(|object| object.shared)
            && !self.is_referred_to(target)
        {
            self.remove(target);
        }
    }

    /// The state after a restart: without shared objects to which nothing refers.
    pub(super) fn reopened(&self) -> Self {
        let mut next = self.clone();
        while let Some(orphan) = next.objects.iter().find(|object| object.shared && !next.is_referred_to(object.key)) {
            let key = orphan.key;
            next.remove(key);
        }
        next
    }
}
