//! How badly events reach the product.
use serde::{Deserialize, Serialize};

use crate::stripe_sim::objects::{API_VERSION, OLD_API_VERSION, Shape};

/// How events are made and delivered from now on. Changing it leaves what is already queued as it is, except that
/// `paused` and `shuffle` apply at once.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Nothing is delivered until this is false again or `flush` is called.
    pub paused: bool,
    /// So many of the next events are never delivered.
    pub drop_next: u64,
    /// Events of these types are never delivered.
    pub drop_types: Vec<String>,
    /// So many extra deliveries of every event.
    pub duplicate: u32,
    /// Two events, with two ids, for every change.
    pub double: bool,
    /// Deliveries in random order.
    pub shuffle: bool,
    /// Wait before the first try.
    pub delay_ms: u64,
    /// `api_version` of the events made from now on.
    pub api_version: String,
    /// Shape of their objects.
    pub shape: Shape,
    /// The API call that caused an event answers only after the event was tried.
    pub before_response: bool,
}

/// A change of the settings: what is absent stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    pub paused: Option<bool>,
    pub drop_next: Option<u64>,
    pub drop_types: Option<Vec<String>>,
    pub duplicate: Option<Count>,
    pub double: Option<bool>,
    pub shuffle: Option<bool>,
    pub delay_ms: Option<u64>,
    pub api_version: Option<String>,
    pub shape: Option<Shape>,
    pub before_response: Option<bool>,
    /// Repeats the same disorder.
    pub seed: Option<u64>,
}

/// A number, or `true` for one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Count {
    Switch(bool),
    Number(u32),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paused: false,
            drop_next: 0,
            drop_types: Vec::new(),
            duplicate: 0,
            double: false,
            shuffle: false,
            delay_ms: 0,
            api_version: API_VERSION.to_owned(),
            shape: Shape::New,
            before_response: false,
        }
    }
}

impl Settings {
    /// Makes a change; a version brings its shape along, and a shape its version, unless both are given.
    pub fn apply(&mut self, change: Change) {
        set(&mut self.paused, change.paused);
        set(&mut self.drop_next, change.drop_next);
        set(&mut self.drop_types, change.drop_types);
        set(&mut self.double, change.double);
        set(&mut self.shuffle, change.shuffle);
        set(&mut self.delay_ms, change.delay_ms);
        set(&mut self.before_response, change.before_response);
        set(&mut self.duplicate, change.duplicate.map(Count::number));
        let version_of_shape = change.shape.map(|shape| match shape {
            Shape::Old => OLD_API_VERSION.to_owned(),
            Shape::New => API_VERSION.to_owned(),
        });
        let shape_of_version = change.api_version.as_deref().map(Shape::of_version);
        set(&mut self.shape, change.shape.or(shape_of_version));
        set(&mut self.api_version, change.api_version.or(version_of_shape));
    }
}

impl Count {
    fn number(self) -> u32 {
        match self {
            Self::Switch(on) => u32::from(on),
            Self::Number(number) => number,
        }
    }
}

fn set<T>(setting: &mut T, change: Option<T>) {
    if let Some(value) = change {
        *setting = value;
    }
}
