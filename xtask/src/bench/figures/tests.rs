use super::{Figure, Measured, Sample, Series, verdict};
use crate::bench::works::{Target, Unit, Variant, Work};

const WORK: Work = Work {
    name: "some",
    title: "some work",
    unit: Unit::Ns,
    variants: &[Variant::Kernel, Variant::KernelDefer, Variant::Ringer],
    targets: &[],
};

fn measured(rounds: [[f64; 3]; 3]) -> Measured {
    let series = |(i, &variant): (usize, &Variant)| Series {
        variant,
        rounds: rounds.iter().map(|r| Some(Sample { value: r[i], cpu: 0.0 })).collect(),
        failure: None,
    };
    Measured { work: &WORK, series: WORK.variants.iter().enumerate().map(series).collect() }
}

#[test]
fn a_ratio_is_of_the_same_round_and_of_the_kernels_better_mode() {
    // The second round was four times slower for all: the ratios are 2, 2 and 3.
    let m = measured([[30.0, 20.0, 10.0], [120.0, 80.0, 40.0], [30.0, 21.0, 7.0]]);
    assert_eq!(m.best_kernel(Figure::Value).map(|s| s.variant), Some(Variant::KernelDefer));
    let ratio = m.ratio(Figure::Value).expect("both were measured");
    assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 3.0));
}

#[test]
fn a_target_is_met_by_the_median_and_unknown_without_the_other_side() {
    let m = measured([[30.0, 20.0, 10.0]; 3]);
    let is = |target| {
        let v = verdict(target, &m, &[]);
        (v.found, v.met)
    };
    assert_eq!(is(Target::Best(2.0)), (Some(2.0), true));
    assert_eq!(is(Target::Best(2.1)), (Some(2.0), false));
    assert_eq!(is(Target::Default(3.0)), (Some(3.0), true));
    assert_eq!(is(Target::AtMost(9.0)), (Some(10.0), false));
    assert_eq!(is(Target::Above(0.0)), (Some(-10.0), true));
    assert_eq!(is(Target::Cpu(1.1)), (None, false), "no processor time was measured");
    assert_eq!(is(Target::Rival("epoll", 1.0)), (None, false));
    assert_eq!(is(Target::Flat("another")), (None, false));
}
