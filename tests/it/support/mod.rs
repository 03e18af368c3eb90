//! Fixtures of the stories.

mod client;
pub(crate) mod counting;
mod lab;

pub(crate) use client::{Client, File};
pub(crate) use lab::{Lab, principal};
