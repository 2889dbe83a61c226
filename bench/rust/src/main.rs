//! Drives the Rust crate batpak through the workload of the Go runner, which starts this program where it would start
//! itself: the argument is a spec in JSON, and the last line of standard output the result.

mod meter;
mod workload;

use batpak::id::EntityIdType;
use batpak::prelude::*;
use batpak::store::{BatchAppendItem, CausationRef, DurabilityGate, IndexEntry, WatermarkKind};
use meter::{cpu_time, disk_use, memory, Outcome, Spec};
use serde::{Serialize, Serializer};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use workload::{Draw, Event, Workload, FIRST_KIND, KINDS, SCOPES};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const QUERY_LIMIT: usize = 1000;
const PAGE: usize = 1000;
const MOST_KEYS: u64 = 1 << 20;
const LEDGER_BYTES: usize = 1 << 26;

fn main() {
    let spec: Spec = std::env::args().nth(1).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if spec.work == "digest" {
        println!("{}", Workload::new(spec.seed, spec.payload, spec.entities).digest(spec.size));
        return;
    }
    let mut child = Child { w: Workload::new(spec.seed, spec.payload, spec.entities), spec, r: Outcome::default() };
    if let Err(err) = child.run() {
        child.r.failed = err.to_string();
    }
    child.r.peak_mib = memory().2;
    println!("{}", serde_json::to_string(&child.r).unwrap_or_default());
}

/// A payload that is stored as bytes.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

/// The bytes in a MessagePack value of bytes.
fn unwrap_bytes(b: &[u8]) -> &[u8] {
    match b.first() {
        Some(0xc4) => &b[2..],
        Some(0xc5) => &b[3..],
        Some(0xc6) => &b[5..],
        _ => b,
    }
}

fn kind_of(kind: u16) -> EventKind {
    EventKind::custom((kind >> 12) as u8, kind & 0xFFF)
}

struct Child {
    spec: Spec,
    w: Workload,
    r: Outcome,
}

impl Child {
    fn run(&mut self) -> Fallible<()> {
        std::fs::create_dir_all(self.store_dir())?;
        self.r.empty_mib = memory().0;
        match self.spec.work.as_str() {
            "load" => self.load(),
            "get" => self.get(),
            "stream" => self.read(self.spec.entities, Workload::rank, Child::stream),
            "scope" => self.read(SCOPES, Workload::scope, Child::scope),
            "kind" => self.read(KINDS, Workload::kind, Child::kind),
            "scan" => self.read(1, |_, _| 0, Child::scan),
            "open" => self.open_work(),
            "kill" | "kill-written" => self.recover(),
            "appending until killed" => self.until_killed(),
            work if work.starts_with("append-") || work.starts_with("batch-") => self.append(),
            _ => {
                self.r.cannot = "it has no query by time".into();
                Ok(())
            }
        }
    }

    fn store_dir(&self) -> PathBuf {
        Path::new(&self.spec.dir).join("store")
    }

    fn limit(&self) -> Duration {
        Duration::from_nanos(self.spec.limit_ns)
    }

    fn config(&self) -> StoreConfig {
        let c = StoreConfig::new(self.store_dir()).with_batch_max_size(2000).with_batch_max_bytes(16 << 20);
        if self.spec.durable {
            return c.with_sync_every_n_events(1).with_sync_mode(SyncMode::SyncData).with_group_commit_max_batch(0);
        }
        c.with_sync_mode(SyncMode::SyncData)
    }

    fn open(&mut self) -> Fallible<Store> {
        let before = memory();
        let start = Instant::now();
        let s = Store::open(self.config())?;
        self.r.open_ms = start.elapsed().as_secs_f64() * 1000.0;
        let after = memory();
        self.r.open_mib = after.0;
        self.r.heap_mib = after.1 - before.1;
        Ok(s)
    }

    /// The number of events and the distance of the keys that were noted.
    fn manifest(&mut self) -> Fallible<(u64, u64)> {
        let text = std::fs::read_to_string(Path::new(&self.spec.dir).join("manifest.json"))?;
        let m: serde_json::Value = serde_json::from_str(&text)?;
        self.r.events = m["events"].as_u64().unwrap_or(0);
        Ok((self.r.events, m["every"].as_u64().unwrap_or(1)))
    }

    fn options(&self) -> AppendOptions {
        let o = AppendOptions::new();
        if self.spec.durable {
            return o.with_gate(DurabilityGate::new(WatermarkKind::Durable, Duration::from_secs(60)));
        }
        o
    }

    /// Appends events, several of them atomically, and returns their ids.
    fn put(&self, s: &Store, es: &[Event]) -> Fallible<Vec<EventId>> {
        if let [e] = es {
            let at = Coordinate::new(&e.entity, &e.scope)?;
            return Ok(vec![s.append_with_options(&at, kind_of(e.kind), &Bytes(&e.payload), self.options())?.event_id]);
        }
        let mut items = Vec::with_capacity(es.len());
        for e in es {
            let at = Coordinate::new(&e.entity, &e.scope)?;
            items.push(BatchAppendItem::new(at, kind_of(e.kind), &Bytes(&e.payload), AppendOptions::new(), CausationRef::None)?);
        }
        Ok(s.append_batch_with_options(items, self.options())?.iter().map(|r| r.event_id).collect())
    }

    /// Appends with all callers until a time or a number, and returns what each call took.
    fn callers(&self, s: &Store, next: &AtomicU64, end: u64, deadline: Instant, returned: &(dyn Fn(&[Event]) + Sync)) -> Fallible<(u64, Vec<u32>)> {
        let total = Mutex::new((0u64, Vec::new()));
        let caller = || -> Fallible<()> {
            let mut es = vec![Event::default(); self.spec.batch.max(1) as usize];
            let mut took = Vec::new();
            let mut appended = 0;
            let mut begin = Instant::now();
            while begin < deadline {
                let n = es.len() as u64;
                let first = next.fetch_add(n, Ordering::SeqCst);
                if first + n > end {
                    break;
                }
                for (i, e) in es.iter_mut().enumerate() {
                    self.w.fill(e, first + i as u64);
                }
                self.put(s, &es)?;
                returned(&es);
                appended += n;
                let now = Instant::now();
                took.push((now - begin).as_nanos().min(u128::from(u32::MAX)) as u32);
                begin = now;
            }
            let mut t = total.lock().map_err(|_| "a caller panicked")?;
            t.0 += appended;
            t.1.append(&mut took);
            Ok(())
        };
        std::thread::scope(|scope| -> Fallible<()> {
            let all: Vec<_> = (0..self.spec.callers.max(1)).map(|_| scope.spawn(caller)).collect();
            for t in all {
                t.join().map_err(|_| "a caller panicked")??;
            }
            Ok(())
        })?;
        Ok(total.into_inner().map_err(|_| "a caller panicked")?)
    }

    fn append(&mut self) -> Fallible<()> {
        let s = self.open()?;
        let next = AtomicU64::new(0);
        let (cpu, start) = (cpu_time(), Instant::now());
        let (n, mut took) = self.callers(&s, &next, 2_000_000, start + self.limit(), &|_| {})?;
        let elapsed = start.elapsed();
        s.close()?;
        self.r.measured(n, elapsed, cpu);
        self.r.latencies(&mut took);
        self.r.log_bytes = disk_use(&self.store_dir()) as f64 / n.max(1) as f64;
        let s = Store::open(self.config())?;
        let mut seen = vec![false; n as usize];
        let mut count = 0;
        self.each(&s, &Region::all(), None, usize::MAX, &mut |number| {
            if number >= n || std::mem::replace(&mut seen[number as usize], true) {
                return Err(format!("event {number} was not appended, or is there twice").into());
            }
            count += 1;
            Ok(())
        })?;
        if count != n {
            return Err(format!("{count} events of {n} are there").into());
        }
        s.close()?;
        Ok(())
    }

    fn load(&mut self) -> Fallible<()> {
        let s = self.open()?;
        let every = 1 + (self.spec.size - 1) / MOST_KEYS;
        let mut keys = Vec::new();
        let mut es = vec![Event::default(); self.spec.batch.max(1).min(self.spec.size) as usize];
        let mut took = Vec::new();
        let mut events = 0;
        let (cpu, start) = (cpu_time(), Instant::now());
        let mut begin = start;
        while events < self.spec.size && begin - start < self.limit() {
            for (i, e) in es.iter_mut().enumerate() {
                self.w.fill(e, events + i as u64);
            }
            for (i, id) in self.put(&s, &es)?.iter().enumerate() {
                if (events + i as u64) % every == 0 {
                    keys.extend_from_slice(&id.as_u128().to_be_bytes());
                }
            }
            events += es.len() as u64;
            let now = Instant::now();
            took.push((now - begin).as_nanos().min(u128::from(u32::MAX)) as u32);
            begin = now;
        }
        let elapsed = start.elapsed();
        s.close()?;
        self.r.measured(events, elapsed, cpu);
        self.r.latencies(&mut took);
        self.r.events = events;
        self.r.log_bytes = disk_use(&self.store_dir()) as f64 / events.max(1) as f64;
        if events < self.spec.size {
            self.r.note = format!("ended by the time cap at {events} events");
        }
        std::fs::write(Path::new(&self.spec.dir).join("keys"), keys)?;
        std::fs::write(Path::new(&self.spec.dir).join("manifest.json"), format!("{{\"events\":{events},\"every\":{every}}}"))?;
        Ok(())
    }

    /// Visits the numbers of the events of a region, in commit order, each checked. The crate's own events are left out.
    fn each(&self, s: &Store, region: &Region, after: Option<u64>, limit: usize, visit: &mut dyn FnMut(u64) -> Fallible<()>) -> Fallible<()> {
        let mut scratch = Event::default();
        let (mut after, mut left) = (after, limit);
        loop {
            let page = s.query_entries_after(region, after, PAGE.min(left));
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.global_sequence());
            for entry in &page {
                if entry.event_kind().category() == (FIRST_KIND >> 12) as u8 {
                    visit(self.read_entry(s, entry, &mut scratch)?)?;
                    left -= 1;
                }
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn read_entry(&self, s: &Store, entry: &IndexEntry, scratch: &mut Event) -> Fallible<u64> {
        let e = s.read_raw(entry.event_id())?;
        let kind = u16::from(entry.event_kind().category()) << 12 | entry.event_kind().type_id();
        Ok(self.w.check(e.coordinate.entity(), e.coordinate.scope(), kind, unwrap_bytes(&e.event.payload), scratch)?)
    }

    /// Runs one operation until the time is over. What is done to warm up is not counted, unless one call takes longer.
    fn measure(&mut self, mut once: impl FnMut(&Child) -> Fallible<u64>) -> Fallible<()> {
        let (limit, warm_up, mut took) = (self.limit(), Duration::from_nanos(self.spec.warm_ns), Vec::new());
        let opened = Instant::now();
        let (mut cpu, mut start, mut begin) = (cpu_time(), opened, opened);
        let (mut counted, mut warm) = (0, false);
        loop {
            let n = once(self)?;
            let now = Instant::now();
            if !warm && now - begin < warm_up {
                warm = now - opened >= warm_up;
                (cpu, start, begin) = (cpu_time(), now, now);
                continue;
            }
            warm = true;
            counted += n;
            took.push((now - begin).as_nanos().min(u128::from(u32::MAX)) as u32);
            begin = now;
            if now - start >= limit {
                self.r.measured(counted, now - start, cpu);
                self.r.latencies(&mut took);
                return Ok(());
            }
        }
    }

    fn get(&mut self) -> Fallible<()> {
        let (_, every) = self.manifest()?;
        let keys = std::fs::read(Path::new(&self.spec.dir).join("keys"))?;
        let s = self.open()?;
        let mut random = Random(self.spec.seed ^ self.spec.repeat);
        let mut scratch = Event::default();
        self.measure(|c| {
            let i = random.below(keys.len() as u64 / 16);
            let id: [u8; 16] = keys[i as usize * 16..][..16].try_into()?;
            let e = s.read_raw(EventId::from_u128(u128::from_be_bytes(id)))?;
            let kind = e.event.event_kind();
            let kind = u16::from(kind.category()) << 12 | kind.type_id();
            let number = c.w.check(e.coordinate.entity(), e.coordinate.scope(), kind, unwrap_bytes(&e.event.payload), &mut scratch)?;
            if number != i * every {
                return Err(format!("the key of event {} gives event {number}", i * every).into());
            }
            Ok(1)
        })?;
        s.close()?;
        Ok(())
    }

    /// Runs queries on a prepared store, whose events it has listed by what they are asked for.
    fn read(&mut self, classes: u64, by: fn(&Workload, Draw) -> u64, once: fn(&Child, &mut Reading) -> Fallible<u64>) -> Fallible<()> {
        let (events, _) = self.manifest()?;
        let s = self.open()?;
        let mut list = vec![Vec::new(); classes as usize];
        for n in 0..events {
            list[by(&self.w, self.w.draw(n)) as usize].push(n);
        }
        let base = s.query_entries_after(&Region::all(), None, 100).iter().find(|e| e.event_kind().category() == (FIRST_KIND >> 12) as u8).map_or(0, IndexEntry::global_sequence);
        let mut rd = Reading { s, events, base, list, random: Random(self.spec.seed ^ self.spec.repeat) };
        self.measure(|c| once(c, &mut rd))?;
        rd.s.close()?;
        Ok(())
    }

    /// Runs a query and compares what it yields with the numbers, at most limit of them.
    fn expect(&self, rd: &Reading, region: &Region, after: Option<u64>, limit: usize, numbers: &[u64]) -> Fallible<u64> {
        let numbers = &numbers[..numbers.len().min(limit)];
        let mut n = 0;
        self.each(&rd.s, region, after, limit, &mut |number| {
            if numbers.get(n) != Some(&number) {
                return Err(format!("event {number} instead of {:?}", numbers.get(n)).into());
            }
            n += 1;
            Ok(())
        })?;
        if n != numbers.len() {
            return Err(format!("{n} events instead of {}", numbers.len()).into());
        }
        Ok(n as u64)
    }

    fn stream(&self, rd: &mut Reading) -> Fallible<u64> {
        let tenth = self.spec.entities / 10;
        let rank = tenth + rd.random.below(self.spec.entities - tenth);
        let mut scratch = Event::default();
        let numbers = &rd.list[rank as usize];
        let entries = rd.s.by_entity(&self.w.name(rank));
        if entries.len() != numbers.len() {
            return Err(format!("{} events instead of {}", entries.len(), numbers.len()).into());
        }
        for (entry, number) in entries.iter().zip(numbers) {
            if self.read_entry(&rd.s, entry, &mut scratch)? != *number {
                return Err(format!("another event instead of {number}").into());
            }
        }
        Ok(entries.len() as u64)
    }

    fn limited(&self, rd: &mut Reading, class: u64, region: &Region) -> Fallible<u64> {
        let after = rd.random.below(rd.events);
        let from = rd.list[class as usize].partition_point(|n| *n < after);
        let position = (after > 0).then(|| rd.base + after - 1);
        self.expect(rd, region, position, QUERY_LIMIT, &rd.list[class as usize][from..])
    }

    fn scope(&self, rd: &mut Reading) -> Fallible<u64> {
        let i = rd.random.below(SCOPES);
        self.limited(rd, i, &Region::scope(self.w.scope_name(i)))
    }

    fn kind(&self, rd: &mut Reading) -> Fallible<u64> {
        let i = rd.random.below(KINDS);
        self.limited(rd, i, &Region::all().with_fact(KindFilter::Exact(kind_of(FIRST_KIND + i as u16))))
    }

    fn scan(&self, rd: &mut Reading) -> Fallible<u64> {
        self.expect(rd, &Region::all(), None, usize::MAX, &rd.list[0])
    }

    fn open_work(&mut self) -> Fallible<()> {
        let (events, _) = self.manifest()?;
        let s = self.open()?;
        let start = Instant::now();
        let mut e = Event::default();
        self.w.fill(&mut e, events - 1);
        let newest = s.by_entity(&e.entity);
        let last = newest.last().ok_or("the newest event is not there")?;
        if self.read_entry(&s, last, &mut Event::default())? != events - 1 {
            return Err("the newest event is another".into());
        }
        self.r.first_ms = start.elapsed().as_secs_f64() * 1000.0;
        self.r.n = 1;
        self.r.seconds = (self.r.open_ms + self.r.first_ms) / 1000.0;
        s.close()?;
        Ok(())
    }

    fn until_killed(&mut self) -> Fallible<()> {
        let (events, _) = self.manifest()?;
        let l = Ledger::open(Path::new(&self.spec.dir).join("ledger").as_path(), events)?;
        let s = self.open()?;
        let acked = AtomicU64::new(0);
        let (most, start, limit) = (self.spec.most, Instant::now(), self.limit());
        let said = AtomicU8::new(0);
        let deadline = start + limit + Duration::from_secs(60);
        self.callers(&s, l.next(), LEDGER_BYTES as u64 - 8, deadline, &|es| {
            for e in es {
                l.ack(e.number);
            }
            let n = acked.fetch_add(es.len() as u64, Ordering::SeqCst) + es.len() as u64;
            if (n >= most || start.elapsed() > limit) && said.swap(1, Ordering::SeqCst) == 0 {
                println!("ready");
            }
        })?;
        Err("was not killed".into())
    }

    fn recover(&mut self) -> Fallible<()> {
        let (events, _) = self.manifest()?;
        let l = Ledger::open(Path::new(&self.spec.dir).join("ledger").as_path(), events)?;
        let s = self.open()?;
        self.r.n = 1;
        self.r.seconds = self.r.open_ms / 1000.0;
        let issued = l.next().load(Ordering::SeqCst);
        let mut seen = vec![false; issued as usize];
        let mut next = 0;
        self.each(&s, &Region::all(), None, usize::MAX, &mut |number| {
            if next < events && number != next || number >= issued || std::mem::replace(&mut seen[number as usize], true) {
                return Err(format!("event {number} is out of place").into());
            }
            next += 1;
            Ok(())
        })?;
        let mut lost = events.saturating_sub(next);
        for n in events..issued {
            if l.acked(n) {
                self.r.acked += 1;
                lost += u64::from(!seen[n as usize]);
            }
        }
        if lost > 0 {
            return Err(format!("{lost} of {} acknowledged events are lost", events + self.r.acked).into());
        }
        s.close()?;
        Ok(())
    }
}

/// A prepared store and what is known of it without asking it.
struct Reading {
    s: Store,
    events: u64,
    base: u64, // global sequence of the first event
    list: Vec<Vec<u64>>,
    random: Random,
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n.max(1)
    }
}

/// The mapped file of `kill.go`.
struct Ledger(*mut u8);

unsafe impl Sync for Ledger {}

impl Ledger {
    fn open(name: &Path, first: u64) -> Fallible<Self> {
        use std::os::fd::AsRawFd;
        let f = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name)?;
        f.set_len(LEDGER_BYTES as u64)?;
        let at = unsafe { libc::mmap(std::ptr::null_mut(), LEDGER_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, f.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        let l = Ledger(at.cast());
        let _ = l.next().compare_exchange(0, first, Ordering::SeqCst, Ordering::SeqCst);
        Ok(l)
    }

    fn next(&self) -> &AtomicU64 {
        unsafe { &*self.0.cast::<AtomicU64>() }
    }

    fn flag(&self, number: u64) -> &AtomicU8 {
        unsafe { &*self.0.add(8 + number as usize).cast::<AtomicU8>() }
    }

    fn ack(&self, number: u64) {
        self.flag(number).store(1, Ordering::SeqCst);
    }

    fn acked(&self, number: u64) -> bool {
        self.flag(number).load(Ordering::SeqCst) == 1
    }
}
