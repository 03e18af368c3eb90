//! Fixtures of the stories.

mod client;
mod lab;

pub(crate) use client::{Client, File};
pub(crate) use lab::{Lab, principal};
