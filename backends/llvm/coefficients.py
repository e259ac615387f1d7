"""Minimax coefficients and split constants, lowest degree first.

Printed by benchmarks/fit_coefficients.py; the error of a row is the largest weighted error, as a
power of two.  Do not edit by hand.
"""

# fmt: off
Table = dict[int, tuple[float, ...]]

# (exp(r) - 1 - r) / r^2,  |r| <= ln2/2
EXP: Table = {
    32: (  # 2^-26.1
        float.fromhex('0x1.0000000000000p-1'),
        float.fromhex('0x1.5554aa0000000p-3'),
        float.fromhex('0x1.5555340000000p-5'),
        float.fromhex('0x1.122bb20000000p-7'),
        float.fromhex('0x1.6cef280000000p-10'),
    ),
    64: (  # 2^-60.2
        float.fromhex('0x1.0000000000000p-1'),
        float.fromhex('0x1.5555555555559p-3'),
        float.fromhex('0x1.5555555555556p-5'),
        float.fromhex('0x1.111111110f661p-7'),
        float.fromhex('0x1.6c16c16c15997p-10'),
        float.fromhex('0x1.a01a01aff13dfp-13'),
        float.fromhex('0x1.a01a01ae3c9cfp-16'),
        float.fromhex('0x1.71ddf85f465e1p-19'),
        float.fromhex('0x1.27e4bdae93689p-22'),
        float.fromhex('0x1.af5e7ef5b7a7ap-26'),
        float.fromhex('0x1.1fb951a0c4a15p-29'),
    ),
}

# (log(1+f) - f + f^2/2) / f^3,  sqrt(1/2) <= 1+f <= sqrt(2)
LOG: Table = {
    32: (  # 2^-28.7
        float.fromhex('0x1.5555460000000p-2'),
        float.fromhex('-0x1.0000a00000000p-2'),
        float.fromhex('0x1.99a6700000000p-3'),
        float.fromhex('-0x1.551b980000000p-3'),
        float.fromhex('0x1.22de320000000p-3'),
        float.fromhex('-0x1.0239b40000000p-3'),
        float.fromhex('0x1.f44cce0000000p-4'),
        float.fromhex('-0x1.b2fff00000000p-4'),
        float.fromhex('0x1.865c0a0000000p-5'),
    ),
}

# (2 atanh(s) - 2s) / s^3 in z = s^2,  s = f/(2+f)
LOG_S: Table = {
    64: (  # 2^-51.5
        float.fromhex('0x1.5555555555558p-1'),
        float.fromhex('0x1.99999999952d2p-2'),
        float.fromhex('0x1.2492492df840ep-2'),
        float.fromhex('0x1.c71c62dae19f1p-3'),
        float.fromhex('0x1.7462b7cb5d966p-3'),
        float.fromhex('0x1.39fdf9a8291f7p-3'),
        float.fromhex('0x1.2b5d1c6abaf7ep-3'),
    ),
}

# (2 atanh(s) - 2s - 2/3 s^3) / s^5 in z = s^2
POW_S: Table = {
    64: (  # 2^-55.3
        float.fromhex('0x1.999999999999ap-2'),
        float.fromhex('0x1.2492492491dc8p-2'),
        float.fromhex('0x1.c71c71c979e1fp-3'),
        float.fromhex('0x1.745d14c317701p-3'),
        float.fromhex('0x1.3b150054913bdp-3'),
        float.fromhex('0x1.10b22d4057f35p-3'),
        float.fromhex('0x1.ffa9bdc42974fp-4'),
        float.fromhex('-0x1.80a1e9f80f83bp-5'),
        float.fromhex('0x1.64e1c0497ffe4p+0'),
    ),
}

# (sin(r) - r) / r^3 in z = r^2,  |r| <= pi/4
SIN: Table = {
    32: (  # 2^-28.0
        float.fromhex('-0x1.5555460000000p-3'),
        float.fromhex('0x1.11077c0000000p-7'),
        float.fromhex('-0x1.9955ae0000000p-13'),
    ),
    64: (  # 2^-58.0
        float.fromhex('-0x1.5555555555549p-3'),
        float.fromhex('0x1.111111110f89cp-7'),
        float.fromhex('-0x1.a01a019c141aap-13'),
        float.fromhex('0x1.71de3578eca79p-19'),
        float.fromhex('-0x1.ae5e66a382eadp-26'),
        float.fromhex('0x1.5d9300e8ccc97p-33'),
    ),
}

# (cos(r) - 1 + r^2/2) / r^4 in z = r^2,  |r| <= pi/4
COS: Table = {
    32: (  # 2^-33.1
        float.fromhex('0x1.55554a0000000p-5'),
        float.fromhex('-0x1.6c0c1a0000000p-10'),
        float.fromhex('0x1.99e0ec0000000p-16'),
    ),
    64: (  # 2^-64.2
        float.fromhex('0x1.555555555554cp-5'),
        float.fromhex('-0x1.6c16c16c15217p-10'),
        float.fromhex('0x1.a01a019cbe0a8p-16'),
        float.fromhex('-0x1.27e4f8116cd09p-22'),
        float.fromhex('0x1.1ee9f0455c040p-29'),
        float.fromhex('-0x1.8fb091b742172p-37'),
    ),
}

# (atan(r) - r) / r^3 in z = r^2,  |r| <= tan(pi/8)
ATAN: Table = {
    32: (  # 2^-30.5
        float.fromhex('-0x1.55554a0000000p-2'),
        float.fromhex('0x1.9991e80000000p-3'),
        float.fromhex('-0x1.23ba420000000p-3'),
        float.fromhex('0x1.b22ecc0000000p-4'),
        float.fromhex('-0x1.f31d6e0000000p-5'),
    ),
    64: (  # 2^-59.5
        float.fromhex('-0x1.555555555553dp-2'),
        float.fromhex('0x1.999999999589bp-3'),
        float.fromhex('-0x1.24924922af0dfp-3'),
        float.fromhex('0x1.c71c70e6ca3e5p-4'),
        float.fromhex('-0x1.745cf8f1f3a04p-4'),
        float.fromhex('0x1.3b111a96c4d4cp-4'),
        float.fromhex('-0x1.10ebc886f47a5p-4'),
        float.fromhex('0x1.df102c9dcf98ap-5'),
        float.fromhex('-0x1.9cd67a8f4d156p-5'),
        float.fromhex('0x1.37de865828c5dp-5'),
        float.fromhex('-0x1.257c629e25d99p-6'),
    ),
}

# erf(x)/x - 1 in z = x^2,  |x| <= 1
ERF_NEAR: Table = {
    64: (  # 2^-56.2
        float.fromhex('0x1.06eba8214db69p-3'),
        float.fromhex('-0x1.812746b037a27p-2'),
        float.fromhex('0x1.ce2f21a045b90p-4'),
        float.fromhex('-0x1.b82ce31366603p-6'),
        float.fromhex('0x1.565bcd2fabe05p-8'),
        float.fromhex('-0x1.c02db9e22ae91p-11'),
        float.fromhex('0x1.f9a3cfa0025b6p-14'),
        float.fromhex('-0x1.f4dec4ec04421p-17'),
        float.fromhex('0x1.ba8234f9bd86bp-20'),
        float.fromhex('-0x1.64724e765ab70p-23'),
        float.fromhex('0x1.181885eaf3779p-26'),
        float.fromhex('-0x1.e4aea3973802cp-30'),
        float.fromhex('0x1.6853d7bcbc0acp-33'),
    ),
}

# -log(erfc(a)),  1 <= a <= 6
ERF_FAR: Table = {
    64: (  # 2^-56.9
        float.fromhex('0x1.0df2356333824p-21'),
        float.fromhex('0x1.20dd1fd572c9fp+0'),
        float.fromhex('0x1.45f62746406edp-1'),
        float.fromhex('0x1.a4ac5dc868111p-4'),
        float.fromhex('-0x1.37229e28180adp-6'),
        float.fromhex('-0x1.ae90006a2e826p-12'),
        float.fromhex('0x1.f63ff914675edp-10'),
        float.fromhex('-0x1.9408ae8016e40p-11'),
        float.fromhex('0x1.1b355d5c26888p-13'),
        float.fromhex('0x1.54116911d496ep-16'),
        float.fromhex('-0x1.7eead6818bb3ap-16'),
        float.fromhex('0x1.22d55d32ab22ep-17'),
        float.fromhex('-0x1.1ea81e1b7bf7ap-19'),
        float.fromhex('0x1.90d8a9da359dap-22'),
        float.fromhex('-0x1.8ec91000bb3c1p-25'),
        float.fromhex('0x1.0e5f19ecf254dp-28'),
        float.fromhex('-0x1.c1b635a50f90fp-33'),
        float.fromhex('0x1.5ad64f879a7a1p-38'),
    ),
}

# P and Q, erf(x) = x P(z)/Q(z) in z = x^2,  |x| <= 3.88
ERF_ABOVE: Table = {
    32: (
        float.fromhex('0x1.a72f620000000p+40'),
        float.fromhex('0x1.1b72ee0000000p+38'),
        float.fromhex('0x1.3b93700000000p+36'),
        float.fromhex('0x1.6463420000000p+32'),
        float.fromhex('0x1.b63c740000000p+28'),
        float.fromhex('0x1.9995e00000000p+21'),
    ),
}
ERF_BELOW: Table = {
    32: (
        float.fromhex('0x1.7709bc0000000p+40'),
        float.fromhex('0x1.77a0000000000p+39'),
        float.fromhex('0x1.54a59c0000000p+37'),
        float.fromhex('0x1.64b4f60000000p+34'),
        float.fromhex('0x1.ba978c0000000p+30'),
        float.fromhex('0x1.d88c0e0000000p+25'),
    ),
}

# Constants as unevaluated sums, largest part first
LN2: Table = {
    32: (
        float.fromhex('0x1.62e4300000000p-1'),
        float.fromhex('-0x1.05c6100000000p-29'),
        float.fromhex('-0x1.950d880000000p-54'),
    ),
    64: (
        float.fromhex('0x1.62e42fefa39efp-1'),
        float.fromhex('0x1.abc9e3b39803fp-56'),
        float.fromhex('0x1.7b57a079a1934p-111'),
    ),
}
HALF_PI: Table = {
    32: (
        float.fromhex('0x1.921fb60000000p+0'),
        float.fromhex('-0x1.777a5c0000000p-25'),
        float.fromhex('-0x1.ee59da0000000p-50'),
    ),
    64: (
        float.fromhex('0x1.921fb54442d18p+0'),
        float.fromhex('0x1.1a62633145c07p-54'),
        float.fromhex('-0x1.f1976b7ed8fbcp-110'),
    ),
}
LOG2_E: Table = {
    32: (
        float.fromhex('0x1.7154760000000p+0'),
        float.fromhex('0x1.4ae0c00000000p-26'),
        float.fromhex('-0x1.e888300000000p-52'),
    ),
    64: (
        float.fromhex('0x1.71547652b82fep+0'),
        float.fromhex('0x1.777d0ffda0d24p-56'),
        float.fromhex('-0x1.60bb8a5442ab9p-110'),
    ),
}
TWO_OVER_PI: Table = {
    32: (
        float.fromhex('0x1.45f3060000000p-1'),
        float.fromhex('0x1.b939100000000p-26'),
        float.fromhex('0x1.529fc20000000p-52'),
    ),
    64: (
        float.fromhex('0x1.45f306dc9c883p-1'),
        float.fromhex('-0x1.6b01ec5417056p-55'),
        float.fromhex('-0x1.6447e493ad4cep-109'),
    ),
}
TWO_THIRDS: Table = {
    32: (
        float.fromhex('0x1.5555560000000p-1'),
        float.fromhex('-0x1.5555560000000p-26'),
        float.fromhex('0x1.5555560000000p-51'),
    ),
    64: (
        float.fromhex('0x1.5555555555555p-1'),
        float.fromhex('0x1.5555555555555p-55'),
        float.fromhex('0x1.5555555555555p-109'),
    ),
}

# 2/pi behind the binary point, most significant word first (enough for the largest float64)
TWO_OVER_PI_WORDS: tuple[int, ...] = (
    0xA2F9836E4E441529,
    0xFC2757D1F534DDC0,
    0xDB6295993C439041,
    0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0,
    0x06492EEA09D1921C,
    0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484,
    0xE99C7026B45F7E41,
    0x3991D639835339F4,
    0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F,
    0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA,
    0x6BFB5FB11F8D5D08,
    0x56033046FC7B6BAB,
    0xF0CFBC209AF4361D,
)
# fmt: on
