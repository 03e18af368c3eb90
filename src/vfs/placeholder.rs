//! placeholder

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::vfs::*;

/// The lake as a file system.
#[derive(Debug)]
pub enum Vfs {}

#[allow(clippy::missing_errors_doc, clippy::unused_async)]
impl Vfs {
    /// Opens.
    pub async fn open(_: Lake, _: &Settings, _: SharedClock) -> Result<Arc<Self>> {
        Err(Error::unsupported("placeholder"))
    }
    /// Finishes pending saves.
    pub async fn shutdown(&self) {
        match *self {}
    }
}

#[allow(unused_variables)]
#[async_trait]
impl FileSystem for Vfs {
    async fn root(&self, caller: &Caller, path: &str) -> FsResult<Handle> {
        match *self {}
    }
    async fn lookup(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        match *self {}
    }
    async fn getattr(&self, caller: &Caller, handle: Handle) -> FsResult<Attr> {
        match *self {}
    }
    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        match *self {}
    }
    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32> {
        match *self {}
    }
    async fn readlink(&self, caller: &Caller, handle: Handle) -> FsResult<Vec<u8>> {
        match *self {}
    }
    async fn read(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        match *self {}
    }
    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply> {
        match *self {}
    }
    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry> {
        match *self {}
    }
    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        match *self {}
    }
    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        match *self {}
    }
    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        match *self {}
    }
    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        match *self {}
    }
    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved {
        match *self {}
    }
    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved {
        match *self {}
    }
    async fn readdir(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage> {
        match *self {}
    }
    async fn fsstat(&self, caller: &Caller, handle: Handle) -> FsResult<FsStat> {
        match *self {}
    }
    async fn commit(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> Changed<Verifier> {
        match *self {}
    }
    async fn hint(&self, caller: &Caller, handle: Handle, hint: Hint) -> FsResult<()> {
        match *self {}
    }
    fn handle_key(&self) -> [u8; 32] {
        match *self {}
    }
}
