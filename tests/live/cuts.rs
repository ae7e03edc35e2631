//! Connections that are lost in the middle of an operation: at every request of every operation (those for locks, which are all alike,
//! once in each test), before the request has reached the server, and after the server has done it, so that only its answer is lost.
//!
//! A proxy stands between the client and the server. Just before the n-th request is sent, a fault point tells it to cut: either when
//! the first byte of the request comes, or when the first byte of the answer does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use shardlet::{ErrorKind, Result, SqlServer, fault_point};

use crate::faults::case::{Case, Step};
use crate::faults::world::{Expected, Next, World};
use crate::gate::End;
use crate::proxy::{Direction, Proxy, Traffic};
use crate::restored::Restored;
use crate::server::host;

trials! { cuts {
    shards_and_points,
    points_that_move,
    ranges,
    ranges_that_move,
    splits_and_merges,
    a_store_is_installed,
} }

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Request,
    Answer,
}

/// What the fault points of one test do; it runs on one thread.
struct Cutter {
    proxy: Rc<Proxy>,
    /// Requests that were sent since it was set.
    sent: usize,
    /// Which one is cut, if any.
    cut: Option<(usize, Lost, End)>,
}

thread_local! {
    static CUTTER: RefCell<Option<Cutter>> = const { RefCell::new(None) };
}

impl Cutter {
    /// Counts requests from now on, and cuts the connection of one.
    fn set(proxy: &Rc<Proxy>, cut: Option<(usize, Lost, End)>) {
        // Every test calls it; one of them is the first.
        let _ = fault_point::observe(|point| {
            CUTTER.with_borrow_mut(|cutter| {
                if let Some(cutter) = cutter
                    && point == "server: sending"
                {
                    cutter.sending();
                }
            });
        });
        CUTTER.set(Some(Self { proxy: Rc::clone(proxy), sent: 0, cut }));
    }

    /// Stops, and says how many requests were sent.
    fn take() -> usize {
        let cutter = CUTTER.take().unwrap();
        cutter.rule(&Traffic::Pass, &Traffic::Pass);
        cutter.sent
    }

    fn sending(&mut self) {
        self.sent += 1;
        match self.cut {
            Some((number, Lost::Request, end)) if number == self.sent => {
                self.rule(&Traffic::CutAfter(0, end), &Traffic::Pass);
            }
            Some((number, Lost::Answer, end)) if number == self.sent => {
                self.rule(&Traffic::Pass, &Traffic::CutAfter(0, end));
            }
            _ => self.rule(&Traffic::Pass, &Traffic::Pass),
        }
    }

    /// For the connections that there are; one that is opened next is sound.
    fn rule(&self, to_server: &Traffic, to_client: &Traffic) {
        for link in self.proxy.links().iter().filter(|link| link.is_open()) {
            link.set(Direction::ToServer, to_server);
            link.set(Direction::ToClient, to_client);
        }
    }
}

/// Does an operation, with the connection of one request cut, and settles what it left. The number of its requests.
async fn cut(
    restored: &mut Restored,
    world: &World<SqlServer>,
    proxy: &Rc<Proxy>,
    expected: &Expected,
    cut: Option<(usize, Lost, End)>,
    told: &mut BTreeSet<String>,
) -> usize {
    let case = expected.case;
    restored.restore().await;
    let before = world.facts().await;
    let Step { id, run } = world.step(case);
    Cutter::set(proxy, cut);
    let result: Result<()> = run.await;
    let sent = Cutter::take();
    let about = format!("cut {cut:?} of {sent}");

    let done = expected.outcome(world, &before, &about).await;
    let kind = result.as_ref().err().map(|error| error.kind());
    match kind {
        None => assert!(done, "{case:?}, {about}: not done"),
        // Only where the last commit was in doubt, and then it says so.
        Some(ErrorKind::OutcomeUnknown) => assert!(done, "{case:?}, {about}: told as unknown, and undone: {result:?}"),
        Some(kind) => assert!(!done, "{case:?}, {about}: done, and told as {kind:?}: {result:?}"),
    }
    let _ = told.insert(format!("{:?}: {kind:?}", cut.map(|(_, lost, _)| lost)));
    let next = Next::numbered(cut.map_or(0, |(number, lost, _)| number + usize::from(lost == Lost::Answer)));
    expected.settle(world, &before, &[id], done, next, &about).await;
    restored.assert_no_stamps(&format!("{case:?}, {about}")).await;
    sent
}

async fn through_proxy() -> (Rc<Proxy>, (String, u16)) {
    let (host, port) = host();
    let proxy = Rc::new(Proxy::start(format!("{host}:{port}")).await);
    let address = proxy.address();
    (proxy, (address.ip().to_string(), address.port()))
}

/// What an operation leads to.
async fn expected(restored: &mut Restored, world: &World<SqlServer>, case: Case) -> Expected {
    restored.restore().await;
    world.sound_step(case).run.await.unwrap();
    Expected { case, new_shape: world.facts().await.shape }
}

async fn at_every_request(cases: &[Case]) {
    let (proxy, address) = through_proxy().await;
    let (mut restored, world) = Restored::fill(address, cases[0]).await;
    let (mut cuts, mut told) = (0, BTreeSet::new());
    for &case in cases {
        let expected = expected(&mut restored, &world, case).await;
        let requests = cut(&mut restored, &world, &proxy, &expected, None, &mut BTreeSet::new()).await;
        // The first requests take locks, which is the same for all of them.
        let locks = if case == cases[0] { 0 } else { 2 + usize::from(case.target().is_some()) };
        for number in locks + 1..=requests {
            for lost in [Lost::Request, Lost::Answer] {
                let end = if number % 2 == 0 { End::Close } else { End::Reset };
                let _ = cut(&mut restored, &world, &proxy, &expected, Some((number, lost, end)), &mut told).await;
                cuts += 1;
            }
        }
    }
    println!("{cases:?}: {cuts} connections cut, told as {told:?}");
    // The last answer of each operation, and no request that was not answered.
    assert!(told.contains("Some(Answer): Some(OutcomeUnknown)"), "{told:?}");
    assert!(!told.contains("Some(Request): Some(OutcomeUnknown)"), "{told:?}");
}

async fn shards_and_points() {
    at_every_request(&[
        Case::CreateShard,
        Case::DeleteShard,
        Case::UpdateShard,
        Case::AddPoint,
        Case::AddPoints,
        Case::DeletePoint,
        Case::PointOnline,
    ])
    .await;
}

async fn points_that_move() {
    at_every_request(&[Case::PointOffline, Case::MovePoint, Case::MovePointOffline]).await;
}

async fn ranges() {
    at_every_request(&[Case::AddRange, Case::AddRanges, Case::DeleteRange, Case::RangeOffline, Case::RangeOnline])
        .await;
}

async fn ranges_that_move() {
    at_every_request(&[Case::MoveRange, Case::MoveLockedRangeOnline]).await;
}

async fn splits_and_merges() {
    at_every_request(&[Case::Split, Case::Merge, Case::MergeLocked]).await;
}

/// The installation is one transaction of many requests: where one of them is cut, the next client begins with nothing.
async fn a_store_is_installed() {
    let (proxy, address) = through_proxy().await;
    let (mut restored, world) = Restored::fill(address, Case::CreateShard).await;
    let expected = expected(&mut restored, &world, Case::CreateShard).await;
    restored.new_store = false;
    let told = &mut BTreeSet::new();
    let requests = cut(&mut restored, &world, &proxy, &expected, None, told).await;
    assert!(requests > 30, "{requests} requests with an installation");
    let mut cuts = 0;
    for number in (1..=requests).step_by(5) {
        for lost in [Lost::Request, Lost::Answer] {
            let end = if number % 2 == 0 { End::Close } else { End::Reset };
            let _ = cut(&mut restored, &world, &proxy, &expected, Some((number, lost, end)), told).await;
            cuts += 1;
        }
    }
    println!("installation: {cuts} connections cut, told as {told:?}");
}
