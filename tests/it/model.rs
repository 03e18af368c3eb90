//! Random work of several clients against a model: the set of acknowledged rows.
//!
//! Every row is unique. What was acknowledged is there, once; what was refused is not; and in the
//! end every client sees what the lake holds.

use std::collections::BTreeSet;

use mountable::error::ErrorKind;
use mountable::lake::CompactSettings;
use mountable::vfs::{FsResult, SetAttr, Stability};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{Client, File, Lab, principal};

#[derive(Debug, Clone)]
enum Op {
    /// `echo >>`, page not cached.
    Cold(usize, u8),
    /// `echo >>`, page cached.
    Warm(usize, u8),
    /// A row that does not parse.
    Bad(usize),
    /// Unstable write and COMMIT at the end of the file.
    Unstable(usize),
    /// A line of a process that keeps the file open; whole page or only the new bytes.
    Log(usize, bool),
    /// `sed -i`: changes, deletes, adds.
    Sed(usize, Change),
    /// Truncation, write, mode.
    Rewrite(usize, Change),
    /// `echo >>` of both editors' machines, of a third one and of one whose row does not parse, at
    /// the same time.
    Together(u8),
    /// vim: put aside, write anew.
    Vim(usize, Change),
    /// Reads; its next save is over what it read then.
    Read(usize),
    /// Another program puts data files together.
    Compact,
    /// Another program's commit.
    Foreign(Change),
    /// The gateway is killed and started again.
    Restart,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    delete: Option<u8>,
    update: Option<u8>,
    add: u8,
    front: bool,
}

fn change() -> impl Strategy<Value = Change> {
    (prop::option::of(0..255_u8), prop::option::of(0..255_u8), 0..3_u8, any::<bool>())
        .prop_map(|(delete, update, add, front)| Change { delete, update, add, front })
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..2_usize;
    prop_oneof![
        2 => (who.clone(), 1..4_u8).prop_map(|(c, n)| Op::Cold(c, n)),
        2 => (who.clone(), 1..4_u8).prop_map(|(c, n)| Op::Warm(c, n)),
        1 => who.clone().prop_map(Op::Bad),
        1 => who.clone().prop_map(Op::Unstable),
        4 => (0..2_usize, any::<bool>()).prop_map(|(c, whole)| Op::Log(c, whole)),
        2 => (1..3_u8).prop_map(Op::Together),
        2 => (who.clone(), change()).prop_map(|(c, x)| Op::Sed(c, x)),
        2 => (who.clone(), change()).prop_map(|(c, x)| Op::Rewrite(c, x)),
        1 => (who.clone(), change()).prop_map(|(c, x)| Op::Vim(c, x)),
        2 => who.prop_map(Op::Read),
        2 => change().prop_map(Op::Foreign),
        1 => Just(Op::Compact),
        1 => Just(Op::Restart),
    ]
}

struct World {
    lab: Option<Lab>,
    clients: Vec<Client>,
    loggers: Vec<(Client, File, String)>,
    /// What an editor has open: handle and text.
    open: Vec<Option<(File, String)>>,
    rows: BTreeSet<String>,
    next: u32,
}

impl World {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let text = "id,qty\n1,0\n2,0\n3,0\n4,0\n";
        lab.table("t").rows(text).await;
        let clients: Vec<Client> = ["a", "b"].map(|name| lab.client(name)).into();
        let mut loggers = Vec::new();
        for name in ["l", "m"] {
            let client = lab.client(name);
            let file = client.open("t.csv").await.unwrap();
            loggers.push((client, file, text.to_owned()));
        }
        let rows = text.lines().skip(1).map(str::to_owned).collect();
        Self { lab: Some(lab), clients, loggers, open: vec![None, None], rows, next: 10 }
    }

    fn lab(&self) -> &Lab {
        self.lab.as_ref().unwrap()
    }

    async fn restart(&mut self) {
        let names = |clients: &[Client]| -> Vec<String> {
            clients.iter().map(|client| client.caller.client.to_string()).collect()
        };
        let clients = names(&self.clients);
        self.clients.clear();
        let loggers: Vec<_> = std::mem::take(&mut self.loggers)
            .into_iter()
            .map(|(client, file, text)| (client.caller.client.to_string(), file, text))
            .collect();
        let lab = self.lab.take().unwrap().restart().await;
        self.clients = clients.iter().map(|name| lab.client(name)).collect();
        self.loggers =
            loggers.into_iter().map(|(name, file, text)| (lab.client(&name), file, text)).collect();
        self.lab = Some(lab);
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        // Some rows have the length of their neighbours, some have not.
        format!("{},{}", self.next, if self.next.is_multiple_of(3) { "777777" } else { "0" })
    }

    fn lines(&mut self, count: u8) -> Vec<String> {
        (0..count).map(|_| self.fresh()).collect()
    }

    /// The changed text, with the rows that went and came.
    fn apply(&mut self, text: &str, change: Change) -> (String, Vec<String>, Vec<String>) {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let header = lines.remove(0);
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        if let Some(at) = change.delete
            && lines.len() > 2
        {
            gone.push(lines.remove(usize::from(at) % lines.len()));
        }
        if let Some(at) = change.update
            && !lines.is_empty()
        {
            let at = usize::from(at) % lines.len();
            let row = self.fresh();
            gone.push(std::mem::replace(&mut lines[at], row.clone()));
            new.push(row);
        }
        for row in self.lines(change.add) {
            let at = if change.front { 0 } else { lines.len() };
            lines.insert(at, row.clone());
            new.push(row);
        }
        let mut text = format!("{header}\n");
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        (text, gone, new)
    }

    fn judge(&mut self, what: &str, result: FsResult<()>, gone: &[String], new: &[String]) {
        let there = gone.iter().all(|row| self.rows.contains(row));
        match result {
            Ok(()) => {
                assert!(there, "{what}: a row of somebody else was overwritten: {gone:?}");
                for row in gone {
                    self.rows.remove(row);
                }
                self.rows.extend(new.iter().cloned());
            }
            Err(error) => {
                assert_eq!(error.kind(), Some(ErrorKind::Conflict), "{what}: {error}");
                assert!(!there, "{what} refused without a reason: {error}");
            }
        }
    }

    /// What an editor works on: what it read some time ago, or what is there.
    async fn source(&mut self, c: usize) -> (File, String) {
        if let Some(open) = self.open[c].take() {
            return open;
        }
        let file = self.clients[c].open("t.csv").await.unwrap();
        (file, self.clients[c].read_all(file).await.unwrap())
    }

    async fn step(&mut self, op: &Op) {
        let what = format!("{op:?}");
        match op {
            // An editor that has read keeps its client busy: what a client read last counts.
            Op::Cold(c, _) | Op::Warm(c, _) | Op::Bad(c) | Op::Unstable(c)
                if self.open[*c].is_some() => {}
            Op::Cold(..) | Op::Warm(..) | Op::Bad(_) | Op::Unstable(_) => {
                self.append(&what, op).await;
            }
            Op::Together(_) if self.open.iter().any(Option::is_some) => {}
            Op::Together(n) => self.together(&what, *n).await,
            Op::Log(l, whole) => {
                let row = self.fresh();
                let (client, file, text) = &mut self.loggers[*l];
                let at = text.len();
                text.push_str(&format!("{row}\n"));
                let from = if *whole { 0 } else { at };
                client.write_sync(*file, from as u64, &text[from..]).await.unwrap();
                self.judge(&what, Ok(()), &[], &[row]);
            }
            Op::Read(c) => {
                self.open[*c] = None;
                let open = self.source(*c).await;
                self.open[*c] = Some(open);
            }
            Op::Sed(c, change) | Op::Vim(c, change) => {
                let (_, text) = self.source(*c).await;
                let (text, gone, new) = self.apply(&text, *change);
                let client = self.clients[*c].clone();
                let result = match op {
                    Op::Sed(..) => {
                        client.temporary("x.tmp", &text).await.unwrap();
                        let renamed = client.rename("x.tmp", "t.csv").await;
                        if renamed.is_err() {
                            client.remove("x.tmp").await.unwrap();
                        }
                        renamed
                    }
                    _ => vim(&client, &text).await,
                };
                self.judge(&what, result, &gone, &new);
            }
            Op::Rewrite(c, change) => {
                let (file, text) = self.source(*c).await;
                let (text, gone, new) = self.apply(&text, *change);
                let client = self.clients[*c].clone();
                let result = rewrite(&client, file, &text).await;
                self.judge(&what, result, &gone, &new);
            }
            Op::Foreign(change) => self.foreign(&what, *change).await,
            Op::Compact => {
                let (door, all) = (self.lab().another_door(), CompactSettings::all());
                door.compact(&principal("manage"), &Lab::id("t"), &all).await.unwrap();
            }
            Op::Restart => self.restart().await,
        }
        self.check(&what).await;
    }

    async fn append(&mut self, what: &str, op: &Op) {
        match op {
            Op::Cold(c, n) | Op::Warm(c, n) => {
                let new = self.lines(*n);
                let text = new.join("\n") + "\n";
                let client = self.clients[*c].clone();
                match op {
                    Op::Cold(..) => client.append_cold("t.csv", &text).await.unwrap(),
                    _ => client.append_warm("t.csv", &text).await.unwrap(),
                }
                self.judge(what, Ok(()), &[], &new);
            }
            Op::Bad(c) => {
                assert!(self.clients[*c].append_cold("t.csv", "9,9,9\n").await.is_err());
            }
            Op::Unstable(c) => {
                let new = self.lines(2);
                let client = self.clients[*c].clone();
                let file = client.open("t.csv").await.unwrap();
                let mut at = file.size;
                for row in &new {
                    let row = format!("{row}\n");
                    client.write(file, at, &row, Stability::Unstable).await.unwrap();
                    at += row.len() as u64;
                }
                client.commit(file).await.unwrap();
                self.judge(what, Ok(()), &[], &new);
            }
            _ => {}
        }
    }

    async fn together(&mut self, what: &str, count: u8) {
        let clients = [self.clients[0].clone(), self.clients[1].clone(), self.lab().client("c")];
        let mut new = Vec::new();
        let mut tasks = Vec::new();
        for client in clients {
            let rows = self.lines(count);
            let text = rows.join("\n") + "\n";
            new.extend(rows);
            tasks.push(tokio::spawn(async move { client.append_cold("t.csv", &text).await }));
        }
        let bad = self.lab().client("bad");
        let bad = tokio::spawn(async move { bad.append_cold("t.csv", "9,9,9\n").await });
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert!(bad.await.unwrap().is_err());
        self.judge(what, Ok(()), &[], &new);
    }

    async fn foreign(&mut self, what: &str, change: Change) {
        let text = self.lab().engine_csv("t").await;
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let at = usize::from(change.update.unwrap_or(0)) % rows.len().max(1);
        let new = self.lines(change.add);
        let gone: Vec<String> = rows.get(at).map(|row| (*row).to_owned()).into_iter().collect();
        let gone = if change.delete.is_some() && rows.len() > 2 { gone } else { Vec::new() };
        if gone.is_empty() && new.is_empty() {
            return;
        }
        let added: String = new.iter().map(|row| format!("{row}\n")).collect();
        self.lab().foreign_edit("t", at as u64, gone.len() as u64, &added).await;
        self.judge(what, Ok(()), &gone, &new);
    }

    async fn check(&self, what: &str) {
        let text = self.lab().engine_csv("t").await;
        let mut rows: Vec<&str> = text.lines().skip(1).collect();
        rows.sort_unstable();
        let mut expected: Vec<&str> = self.rows.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(rows, expected, "after {what}");
    }

    async fn finish(&mut self) {
        self.lab().quiet().await;
        self.check("the end").await;
        let engine = self.lab().engine_csv("t").await;
        for name in ["a", "b", "l", "m", "new"] {
            assert_eq!(self.lab().client(name).cat("t.csv").await, engine, "client {name}");
        }
        let health = self.lab().client("a").at(".mountable").cat("health.json").await;
        assert!(health.contains("\"pending_saves\": 0"), "{health}");
    }
}

async fn rewrite(client: &Client, file: File, text: &str) -> FsResult<()> {
    client.truncate(file, 0).await?;
    client.write_sync(file, 0, text).await?;
    client.setattr(file, SetAttr { mode: Some(0o644), ..SetAttr::default() }).await
}

async fn vim(client: &Client, text: &str) -> FsResult<()> {
    client.rename("t.csv", "t.csv~").await.unwrap();
    let mode = mountable::vfs::CreateMode::Unchecked(SetAttr::default());
    let file = client.create("t.csv", mode).await.unwrap();
    let written = client.write_sync(file, 0, text).await;
    let mode = SetAttr { mode: Some(0o644), ..SetAttr::default() };
    let saved = match written {
        Ok(()) => client.setattr(file, mode).await,
        refused => refused,
    };
    match saved {
        Ok(()) => client.remove("t.csv~").await?,
        // vim puts the old file back by hand.
        Err(_) => client.rename("t.csv~", "t.csv").await.unwrap(),
    }
    saved
}

#[test]
fn no_acknowledged_row_is_lost_and_none_is_there_twice() {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let first = std::env::var("MODEL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1_u64);
    for seed in first..first + 2 {
        println!("MODEL_SEED={seed} MODEL_CASES={cases}");
        let mut bytes = [0_u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ops = prop::collection::vec(op(), 1..25);
        let outcome = runner.run(&ops, |ops| {
            runtime.block_on(async {
                let mut world = World::new().await;
                for op in &ops {
                    world.step(op).await;
                }
                world.finish().await;
            });
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("seed {seed}: {error}");
        }
    }
}
