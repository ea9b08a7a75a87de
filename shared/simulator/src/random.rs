//! Pseudo-random numbers from a seed, the same on every machine and in every version. For the simulator, benchmarks and tests; never for secrets.
//!
//! The crate `rand` was not chosen because it does not promise the same values across versions, and the simulator promises the same bytes.
//! The generator is xoshiro256++ (<https://prng.di.unimi.it/xoshiro256plusplus.c>, public domain), seeded by
//! `SplitMix64`. The standard library's `exp` and `ln` may differ in the last bit between platforms and would change
//! bytes far downstream, so this file uses only operations that IEEE 754 defines exactly: `+ - * /`, `sqrt` and
//! comparisons.

/// A generator of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

/// `SplitMix64`'s finaliser: spreads the bits of `x`, for values that follow from an identity instead of from a stream.
pub(crate) const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Random {
    /// The generator with this seed.
    pub const fn from_seed(seed: u64) -> Self {
        let a = mix(seed);
        let b = mix(a);
        let c = mix(b);
        Self([a, b, c, mix(c)])
    }

    /// The next 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "a generator has no end, unlike an iterator")]
    pub fn next(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        unit(self.next())
    }

    /// True with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 if the bound is 0. The bias of the multiplication is below 2^-32 for bounds of 32 bits.
    pub fn below(&mut self, bound: u32) -> u32 {
        scale(self.next(), bound)
    }

    /// One of the choices; `None` if there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX)) as usize)
    }

    /// Nearly standard normal: the sum of twelve uniform numbers of 16 bits, so never beyond 6.
    pub fn normal(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let bits = self.next();
            sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        }
        sum as f64 / 65536.0 - 6.0
    }

    /// Log-normal with this median; `spread` is the standard deviation of the logarithm.
    pub fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * exp(spread * self.normal())
    }

    /// A count with this mean, Poisson-distributed; the normal approximation above 30.
    pub fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 30.0 {
            return round(mean + mean.sqrt() * self.normal());
        }
        let limit = exp(-mean);
        let mut count = 0;
        let mut product = self.unit();
        while product > limit {
            count += 1;
            product *= self.unit();
        }
        count
    }
}

/// Maps 64 random bits to [0, 1).
pub(crate) const fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Maps 64 random bits to `0..bound`.
pub(crate) const fn scale(random: u64, bound: u32) -> u32 {
    (((random >> 32) * bound as u64) >> 32) as u32
}

/// Maps 64 random bits to one of the choices.
#[expect(clippy::cast_possible_truncation, reason = "the rest is below the number of choices")]
pub(crate) const fn choose<T, const N: usize>(random: u64, choices: &[T; N]) -> &T {
    &choices[(random % N as u64) as usize]
}

/// Rounds to the nearest whole number, not below 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is intended")]
pub(crate) const fn round(x: f64) -> u32 {
    (x + 0.5) as u32
}

/// e to the `x` for |x| up to 700, within 1e-14: a power of two times a Taylor series.
fn exp(x: f64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let halves = if x < 0.0 { x / LN_2 - 0.5 } else { x / LN_2 + 0.5 };
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and callers stay within 700")]
    let exponent = (halves as i64).clamp(-1022, 1023);
    let rest = x - exponent as f64 * LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..=14 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits((exponent + 1023).cast_unsigned() << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_gives_the_published_sequence() {
        // The first outputs of the reference code from the state 1, 2, 3, 4.
        let mut random = Random([1, 2, 3, 4]);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn exp_is_accurate() {
        for x in [-30.0, -3.3, -1e-9, 0.0, 0.5, 1.0, 7.7, 30.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn counts_have_their_mean_and_variance() {
        let mut random = Random::from_seed(1);
        for mean in [0.2, 5.0, 29.0, 200.0] {
            let counts: Vec<f64> = (0..20_000).map(|_| f64::from(random.poisson(mean))).collect();
            let average = counts.iter().sum::<f64>() / 20_000.0;
            let variance = counts.iter().map(|c| (c - average) * (c - average)).sum::<f64>() / 20_000.0;
            assert!((average / mean - 1.0).abs() < 0.05, "{mean}: {average}");
            assert!((variance / mean - 1.0).abs() < 0.1, "{mean}: {variance}");
        }
        assert_eq!(random.poisson(0.0), 0);
    }

    #[test]
    fn half_of_a_log_normal_lies_below_its_median() {
        let mut random = Random::from_seed(2);
        let below = (0..20_000).filter(|_| random.log_normal(800.0, 1.5) < 800.0).count();
        assert!((9_700..=10_300).contains(&below), "{below}");
    }

    #[test]
    fn integers_stay_below_their_bound() {
        let mut random = Random::from_seed(3);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[random.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
