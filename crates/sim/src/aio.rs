//! Transfers that no thread waits in, in RAM: each ends some time after it was handed over.
//!
//! There is room for three at most, and one may end with `EAGAIN` at once. What it does not do:
//! carry out what is no regular file's.

use crate::object::{Body, Open};
use crate::policy::Fault;
use crate::sched::{Sched, lock};
use crate::transfer::{read_file, write_file};
use crate::world::World;
use ringer_engine::host::{Aio, AioDone, AioOp, HostResult};
use ringer_uapi::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Longest time that a transfer takes \[ns\].
const LONGEST_NS: u64 = 2_000_000;
const ROOM: usize = 3;
const RWF_NOWAIT: u32 = 8;

/// See the module's doc.
#[derive(Debug)]
pub struct SimAio {
    /// Rings when one has ended.
    bell: Arc<Open>,
    done: Arc<Mutex<VecDeque<AioDone>>>,
    in_flight: Mutex<usize>,
    sched: Arc<Sched>,
    world: Arc<Mutex<World>>,
}

impl SimAio {
    pub(crate) fn new(bell: Arc<Open>, sched: Arc<Sched>, world: Arc<Mutex<World>>) -> Self {
        lock(&world).pollers += 1;
        Self { bell, done: Arc::default(), in_flight: Mutex::new(0), sched, world }
    }

    fn start(&self, op: &AioOp<'_>) -> HostResult<()> {
        let open = lock(&self.world).open(op.fd)?.end();
        if !matches!(open.body, Body::Regular { .. }) {
            return Err(Errno::EINVAL);
        }
        if *lock(&self.in_flight) >= ROOM {
            return Err(Errno::EAGAIN);
        }
        lock(&self.world).attempt(self.sched.tid(), op.iov);
        *lock(&self.in_flight) += 1;
        if op.rwf & RWF_NOWAIT != 0 && self.sched.strikes(Fault::Again) {
            lock(&self.done).push_back(AioDone { token: op.token, res: Err(Errno::EAGAIN) });
            return Ok(());
        }
        let (iov, off, write, token) = (op.iov.to_vec(), op.off, op.write, op.token);
        let (bell, done, world) = (self.bell.clone(), self.done.clone(), self.world.clone());
        let end = move || {
            let res = match &open.body {
                Body::Regular { file, .. } if write => write_file(&world, file, &iov, off),
                Body::Regular { file, .. } => read_file(&world, file, &iov, off, usize::MAX),
                _ => Err(Errno::EINVAL),
            };
            lock(&done).push_back(AioDone { token, res });
            // It is an eventfd.
            let _ = bell.signal(1);
        };
        self.sched.at(self.sched.policy.amount(LONGEST_NS), Box::new(end));
        Ok(())
    }
}

impl Drop for SimAio {
    fn drop(&mut self) {
        lock(&self.world).pollers -= 1;
        assert_eq!(*lock(&self.in_flight), 0, "transfers are under way");
    }
}

impl Aio for SimAio {
    fn submit(&self, ops: &[AioOp<'_>]) -> (usize, Option<Errno>) {
        self.sched.breathe();
        for (taken, op) in ops.iter().enumerate() {
            if let Err(e) = self.start(op) {
                return (taken, (taken == 0).then_some(e));
            }
        }
        (ops.len(), None)
    }

    fn reap(&self, to: &mut [AioDone]) -> usize {
        let mut done = lock(&self.done);
        let n = to.len().min(done.len());
        to.iter_mut().zip(done.drain(..n)).for_each(|(to, from)| *to = from);
        *lock(&self.in_flight) -= n;
        n
    }
}
