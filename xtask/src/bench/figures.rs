//! What was measured, and what is said of it: medians, quartiles, ratios of pairs.
//!
//! A ratio is the median over the rounds of (other / ringer), each of two figures of the same round: they were
//! measured next to each other, so that what the machine did to both drops out. What it does not do: print.

use super::works::{Target, Variant, Work};

/// What one measurement came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// In the work's unit.
    pub(crate) value: f64,
    /// Processor time \[ns\]; 0 where it is not known.
    pub(crate) cpu: f64,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Value,
    Cpu,
}

/// A variant's samples, one a round, and why the last missing one is missing.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) variant: Variant,
    pub(crate) rounds: Vec<Option<Sample>>,
    pub(crate) failure: Option<String>,
}

impl Series {
    /// A round's figure. What is zero was not measured.
    fn at(&self, round: usize, figure: Figure) -> Option<f64> {
        let sample = (*self.rounds.get(round)?)?;
        let value = if figure == Figure::Value { sample.value } else { sample.cpu };
        (value != 0.0).then_some(value)
    }

    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of((0..self.rounds.len()).filter_map(|r| self.at(r, figure)))
    }

    /// How many times as much this one takes as the other, round by round.
    pub(crate) fn over(&self, other: &Self, figure: Figure) -> Option<Spread> {
        let pair = |r| Some(self.at(r, figure)? / other.at(r, figure)?);
        Spread::of((0..self.rounds.len()).filter_map(pair))
    }
}

/// A median and the quartiles around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = values.collect();
        all.sort_by(f64::total_cmp);
        let at = |quarter: usize| all.get((all.len() * quarter / 4).min(all.len() - 1)).copied();
        (!all.is_empty())
            .then(|| Some(Self { low: at(1)?, median: at(2)?, high: at(3)? }))
            .flatten()
    }
}

/// A work with its samples.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) work: &'static Work,
    pub(crate) series: Vec<Series>,
}

impl Measured {
    pub(crate) fn new(work: &'static Work) -> Self {
        let empty = |&variant| Series { variant, rounds: Vec::new(), failure: None };
        Self { work, series: work.variants.iter().map(empty).collect() }
    }

    pub(crate) fn series(&self, variant: Variant) -> Option<&Series> {
        self.series.iter().find(|s| s.variant == variant)
    }

    /// The one with the lowest median.
    fn best(&self, of: impl Fn(Variant) -> bool, figure: Figure) -> Option<&Series> {
        let known = self.series.iter().filter(|s| of(s.variant) && s.spread(figure).is_some());
        let median = |s: &&Series| s.spread(figure).map_or(f64::INFINITY, |s| s.median);
        known.min_by(|a, b| median(a).total_cmp(&median(b)))
    }

    pub(crate) fn best_kernel(&self, figure: Figure) -> Option<&Series> {
        self.best(Variant::is_kernel, figure)
    }

    pub(crate) fn best_ringer(&self, figure: Figure) -> Option<&Series> {
        self.best(Variant::is_ringer, figure)
    }

    /// The kernel's better mode against ringer's.
    pub(crate) fn ratio(&self, figure: Figure) -> Option<Spread> {
        self.best_kernel(figure)?.over(self.best_ringer(figure)?, figure)
    }

    /// The kernel's better mode against a patched or trapping ringer.
    pub(crate) fn beside_kernel(&self, series: &Series, figure: Figure) -> Option<Spread> {
        let inline = series.variant.is_inline();
        inline.then(|| self.best_kernel(figure)?.over(series, figure)).flatten()
    }

    /// One variant against ringer's better mode.
    fn against(&self, variant: Variant) -> Option<f64> {
        let ringer = self.best_ringer(Figure::Value)?;
        Some(self.series(variant)?.over(ringer, Figure::Value)?.median)
    }
}

/// A target, what it was measured to be (if both sides were), and whether that is enough.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) asked: String,
    pub(crate) found: Option<f64>,
    pub(crate) met: bool,
}

/// How far apart two figures may be and still be called the same.
const FLAT: f64 = 1.1;

/// A target in words.
pub(crate) fn asked(target: Target) -> String {
    match target {
        Target::Best(r) => format!("rate >= {r}x of kernel"),
        Target::Cpu(r) => format!("cpu <= {r}x of kernel"),
        Target::Default(r) => format!("rate >= {r}x of default"),
        Target::Defer(r) => format!("rate >= {r}x of defer"),
        Target::Rival(name, r) => format!("rate >= {r}x of {name}"),
        Target::Flat(name) => format!("cpu <= {FLAT}x of {name}"),
        Target::AtMost(limit) => format!("<= {limit} KiB"),
        Target::Above(limit) => format!("<= {limit} KiB more"),
    }
}

/// What became of a target.
pub(crate) fn verdict(target: Target, of: &Measured, all: &[Measured]) -> Verdict {
    let found = found(target, of, all);
    let met = found.is_some_and(|found| match target {
        Target::Best(r) | Target::Default(r) | Target::Defer(r) | Target::Rival(_, r) => found >= r,
        Target::Cpu(most) | Target::AtMost(most) | Target::Above(most) => found <= most,
        Target::Flat(_) => found <= FLAT,
    });
    Verdict { asked: asked(target), found, met }
}

fn found(target: Target, of: &Measured, all: &[Measured]) -> Option<f64> {
    let median = |s: &Series| Some(s.spread(Figure::Value)?.median);
    let ringer = || of.best_ringer(Figure::Value);
    Some(match target {
        Target::Best(_) => of.ratio(Figure::Value)?.median,
        Target::Cpu(_) => 1.0 / of.ratio(Figure::Cpu)?.median,
        Target::Default(_) => of.against(Variant::Kernel)?,
        Target::Defer(_) => of.against(Variant::KernelDefer)?,
        Target::Rival(name, _) => of.against(Variant::Rival(name))?,
        Target::Flat(name) => {
            let base = all.iter().find(|m| m.work.name == name)?.series(Variant::Ringer)?;
            of.series(Variant::Ringer)?.over(base, Figure::Cpu)?.median
        }
        Target::AtMost(_) => median(ringer()?)?,
        Target::Above(_) => median(ringer()?)? - median(of.best_kernel(Figure::Value)?)?,
    })
}

#[cfg(test)]
mod tests;
