//! A client machine: the calls that the Linux NFS client makes for what people do.

use std::sync::Arc;

use bytes::Bytes;
use mountable::vfs::{
    Attr, Caller, Changed, CreateMode, Entry, FileSystem, FsResult, Handle, SetAttr, Stability,
    Vfs, WriteReply,
};

/// One machine that has the lake mounted.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) caller: Caller,
    pub(crate) dir: String,
}

/// An open file: the handle that the client keeps while a process has it open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) handle: Handle,
    pub(crate) size: u64,
}

impl Client {
    /// The same machine in another directory of the tree.
    pub(crate) fn at(&self, dir: &str) -> Self {
        Self { dir: dir.to_owned(), ..self.clone() }
    }

    pub(crate) async fn directory(&self) -> Handle {
        self.vfs.root(&self.caller, &self.dir).await.unwrap()
    }

    pub(crate) async fn lookup(&self, name: &str) -> FsResult<Entry> {
        let dir = self.directory().await;
        self.vfs.lookup(&self.caller, dir, name.as_bytes()).await
    }

    /// open(2) for reading: LOOKUP, GETATTR.
    pub(crate) async fn open(&self, name: &str) -> FsResult<File> {
        let entry = self.lookup(name).await?;
        let attr = self.vfs.getattr(&self.caller, entry.handle).await?;
        assert_eq!(attr.size, entry.attr.size, "size of {name}");
        Ok(File { handle: entry.handle, size: attr.size })
    }

    pub(crate) async fn getattr(&self, file: File) -> FsResult<Attr> {
        self.vfs.getattr(&self.caller, file.handle).await
    }

    pub(crate) async fn pread(&self, file: File, offset: u64, count: u32) -> FsResult<Vec<u8>> {
        let reply = self.vfs.read(&self.caller, file.handle, offset, count).await?;
        let bytes = reply.data.concat();
        let rest = reply.attr.size.saturating_sub(offset).min(u64::from(count));
        assert_eq!(bytes.len() as u64, rest, "READ and its attributes disagree");
        if u64::from(count) <= 1 << 20 {
            let end = offset.saturating_add(u64::from(count));
            assert_eq!(reply.eof, end >= reply.attr.size);
        }
        Ok(bytes)
    }

    /// The whole file in READs of 4096 bytes; checks that GETATTR told the right size.
    pub(crate) async fn read_all(&self, file: File) -> FsResult<String> {
        let mut bytes = Vec::new();
        loop {
            let part = self.pread(file, bytes.len() as u64, 4096).await?;
            if part.is_empty() {
                break;
            }
            bytes.extend_from_slice(&part);
        }
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// `cat name`.
    pub(crate) async fn cat(&self, name: &str) -> String {
        let file = self.open(name).await.unwrap();
        let text = self.read_all(file).await.unwrap();
        assert_eq!(text.len() as u64, file.size, "size and bytes of {name} disagree");
        text
    }

    pub(crate) async fn write(
        &self,
        file: File,
        offset: u64,
        text: impl AsRef<[u8]>,
        stability: Stability,
    ) -> FsResult<WriteReply> {
        let changed = self.write_wcc(file, offset, text.as_ref(), stability).await;
        changed.result
    }

    pub(crate) async fn write_wcc(
        &self,
        file: File,
        offset: u64,
        text: &[u8],
        stability: Stability,
    ) -> Changed<WriteReply> {
        let data = Bytes::copy_from_slice(text);
        let changed = self.vfs.write(&self.caller, file.handle, offset, data, stability).await;
        if let (Some(before), Some(after)) = (&changed.before, &changed.after) {
            assert!(after.ctime >= before.ctime, "ctime went back: {before:?} {after:?}");
        }
        changed
    }

    /// The last WRITE of a small file.
    pub(crate) async fn write_sync(
        &self,
        file: File,
        offset: u64,
        text: impl AsRef<[u8]>,
    ) -> FsResult<()> {
        self.write(file, offset, text, Stability::FileSync).await.map(|_| ())
    }

    pub(crate) async fn commit(&self, file: File) -> FsResult<()> {
        self.vfs.commit(&self.caller, file.handle, 0, 0).await.result.map(|_| ())
    }

    pub(crate) async fn setattr(&self, file: File, set: SetAttr) -> FsResult<()> {
        self.vfs.setattr(&self.caller, file.handle, set, None).await.result
    }

    pub(crate) async fn truncate(&self, file: File, size: u64) -> FsResult<()> {
        self.setattr(file, SetAttr { size: Some(size), ..SetAttr::default() }).await
    }

    pub(crate) async fn create(&self, name: &str, mode: CreateMode) -> FsResult<File> {
        let dir = self.directory().await;
        let entry = self.vfs.create(&self.caller, dir, name.as_bytes(), mode).await.result?;
        Ok(File { handle: entry.handle, size: entry.attr.size })
    }

    /// CREATE EXCLUSIVE and the SETATTR that follows it.
    pub(crate) async fn create_exclusive(&self, name: &str) -> FsResult<File> {
        let verifier = (name.len() as u64).to_be_bytes();
        let file = self.create(name, CreateMode::Exclusive(verifier)).await?;
        self.setattr(file, SetAttr { mode: Some(0o600), ..SetAttr::default() }).await?;
        Ok(file)
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> FsResult<()> {
        let dir = self.directory().await;
        let (from, to) = ((dir, from.as_bytes()), (dir, to.as_bytes()));
        self.vfs.rename(&self.caller, from, to).await.result
    }

    pub(crate) async fn remove(&self, name: &str) -> FsResult<()> {
        let dir = self.directory().await;
        self.vfs.remove(&self.caller, dir, name.as_bytes()).await.result
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let dir = self.directory().await;
        let page = self.vfs.readdir(&self.caller, dir, 0, 1000, false).await.unwrap();
        assert!(page.end);
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let mut names: Vec<_> = page.entries.iter().map(|entry| name(&entry.name)).collect();
        names.sort();
        names
    }

    /// `echo rows >> name`, the page not cached: CREATE UNCHECKED of a file that is there, WRITE
    /// at its end.
    pub(crate) async fn append_cold(&self, name: &str, rows: &str) -> FsResult<()> {
        let mode = CreateMode::Unchecked(SetAttr { mode: Some(0o644), ..SetAttr::default() });
        let file = self.create(name, mode).await?;
        self.write_sync(file, file.size, rows).await
    }

    /// `echo rows >> name` with the last page cached: the page again and the rows behind it.
    pub(crate) async fn append_warm(&self, name: &str, rows: &str) -> FsResult<()> {
        let file = self.open(name).await?;
        let text = self.read_all(file).await?;
        let page = text.len() / 4096 * 4096;
        self.write_sync(file, page as u64, format!("{}{rows}", &text[page..])).await
    }

    /// `cat new > name` of a small file.
    pub(crate) async fn overwrite(&self, name: &str, text: &str) -> FsResult<()> {
        let file = self.open(name).await?;
        self.truncate(file, 0).await?;
        self.write_sync(file, 0, text).await
    }

    /// `cat new > name` of a small file that is not there.
    pub(crate) async fn overwrite_new(&self, name: &str, text: &str) {
        let set = SetAttr { mode: Some(0o644), size: Some(0), ..SetAttr::default() };
        let file = self.create(name, CreateMode::Unchecked(set)).await.unwrap();
        self.write_sync(file, 0, text).await.unwrap();
    }

    /// A temporary file with this text.
    pub(crate) async fn temporary(&self, name: &str, text: &str) -> FsResult<()> {
        let file = self.create_exclusive(name).await?;
        self.write_sync(file, 0, text).await
    }

    /// `sed -i`: read, write a temporary file, rename it onto the name.
    pub(crate) async fn sed(
        &self,
        name: &str,
        change: impl FnOnce(&str) -> String,
    ) -> FsResult<()> {
        let text = self.cat(name).await;
        self.temporary("sedAbC123", &change(&text)).await?;
        let renamed = self.rename("sedAbC123", name).await;
        if renamed.is_err() {
            self.remove("sedAbC123").await?;
        }
        renamed
    }
}
