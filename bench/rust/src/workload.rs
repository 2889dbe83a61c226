//! The workload of `workload.go`, the same events byte for byte. `digest` proves it.

pub const SCOPES: u64 = 100;
pub const KINDS: u64 = 8;
pub const FIRST_KIND: u16 = 0xF001;
const TEXT_BYTES: usize = 32 << 10;
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

const WORDS: &str = "account amount approved balance booked cancelled carrier created customer delivered departure destination due \
email failed flight gate invoice issued item landed late limit method moved name note notified number opened order \
origin paid payment pending player price quantity reason received refund rejected requested returned room route \
scheduled sent settled shipped signed source started status stored ticket total transfer updated user value verified";

/// An event of the workload.
#[derive(Default, Clone)]
pub struct Event {
    pub number: u64,
    pub entity: String,
    pub scope: String,
    pub kind: u16,
    pub payload: Vec<u8>,
}

/// What decides all of an event.
#[derive(Clone, Copy)]
pub struct Draw {
    coordinate: u64,
    payload: u64,
}

pub struct Workload {
    seed: u64,
    payload: usize,
    entities: u64,
    text: Vec<u8>,
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn make_text(n: usize) -> Vec<u8> {
    let list: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = Vec::with_capacity(n + 16);
    let mut i = 0;
    while text.len() < n {
        text.extend_from_slice(list[(mix(i) % list.len() as u64) as usize].as_bytes());
        text.push(b' ');
        i += 1;
    }
    text.truncate(n);
    text
}

impl Workload {
    pub fn new(seed: u64, payload: usize, entities: u64) -> Self {
        Workload { seed, payload, entities, text: make_text(TEXT_BYTES) }
    }

    pub fn draw(&self, number: u64) -> Draw {
        let h = mix(self.seed ^ mix(number));
        Draw { coordinate: h, payload: mix(h) }
    }

    pub fn rank(&self, d: Draw) -> u64 {
        let u = (d.coordinate >> 32) as f64 * (1.0 / 4294967296.0);
        let square = u * u;
        (square * square * self.entities as f64) as u64
    }

    pub fn name(&self, rank: u64) -> String {
        format!("entity:{:07}", (rank * 7919 + 13) % self.entities)
    }

    pub fn scope(&self, d: Draw) -> u64 {
        (d.coordinate & 0xFFFF) % SCOPES
    }

    pub fn kind(&self, d: Draw) -> u64 {
        ((d.coordinate >> 16) & 0xFFFF) % KINDS
    }

    pub fn scope_name(&self, scope: u64) -> String {
        format!("scope:{scope:02}")
    }

    /// Makes `e` the event with this number.
    pub fn fill(&self, e: &mut Event, number: u64) {
        let d = self.draw(number);
        e.number = number;
        e.entity = self.name(self.rank(d));
        e.scope = self.scope_name(self.scope(d));
        e.kind = FIRST_KIND + self.kind(d) as u16;
        e.payload.clear();
        e.payload.extend_from_slice(&number.to_le_bytes());
        let half = self.payload / 2;
        let mut x = d.payload;
        while e.payload.len() < half {
            e.payload.extend_from_slice(&mix(x).to_le_bytes());
            x = x.wrapping_add(GOLDEN);
        }
        e.payload.truncate(half);
        let start = (d.payload % (TEXT_BYTES as u64 / 2)) as usize;
        e.payload.extend_from_slice(&self.text[start..start + self.payload - half]);
    }

    /// Compares what was read with the event that its payload says it is, and returns the number.
    pub fn check(&self, entity: &str, scope: &str, kind: u16, payload: &[u8], scratch: &mut Event) -> Result<u64, String> {
        let head: [u8; 8] = payload.get(..8).and_then(|b| b.try_into().ok()).ok_or("a payload without a number")?;
        let number = u64::from_le_bytes(head);
        self.fill(scratch, number);
        if scratch.entity != entity || scratch.scope != scope || scratch.kind != kind || scratch.payload != payload {
            return Err(format!("event {number} has another content"));
        }
        Ok(number)
    }

    /// FNV-1a over the first n events.
    pub fn digest(&self, n: u64) -> String {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        let mut add = |bytes: &[u8]| {
            for b in bytes {
                h = (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        let mut e = Event::default();
        for i in 0..n {
            self.fill(&mut e, i);
            add(format!("{} {} {:x} ", e.entity, e.scope, e.kind).as_bytes());
            add(&e.payload);
        }
        format!("{h:016x}")
    }
}
