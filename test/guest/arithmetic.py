"""Integers, floating point, decimal and rational numbers: operators, library and text conversion."""
import cmath
import math
import operator
import random
import sys
from decimal import Context, Decimal, getcontext, ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_UP
from fractions import Fraction

r = random.Random(20240229)
sys.set_int_max_str_digits(0)


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except (ArithmeticError, ValueError, TypeError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"


print("-- integers")
edges = [0, 1, -1, 2, -2, 7, -10, 2**15, 2**30 - 1, 2**30, -(2**31), 2**31, 2**32 - 1, 2**63 - 1,
         -(2**63), 2**63, 2**64 - 1, 2**64, -(2**64) - 1, 10**18, 10**19, -(10**30)]
binary = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, divmod,
          operator.truediv, operator.and_, operator.or_, operator.xor]
for a in edges:
    for b in edges:
        print(a, b, *[attempt(f, a, b) for f in binary])
for a in edges:
    for s in (0, 1, 29, 30, 31, 63, 64, 65, 200):
        print(a, s, a << s, a >> s)

print("-- big integers")
for bits in (31, 60, 64, 127, 128, 500, 1000, 4000, 20000):
    a, b = r.getrandbits(bits), r.getrandbits(bits // 2 + 1) | 1
    print(bits, a * b % (2**521 - 1), a // b % (2**127 - 1), a % b, math.gcd(a, b * 6), a.bit_length(), a.bit_count())
    print(bits, hex(a * a)[-60:], pow(a, 65537, b), math.isqrt(a), attempt(pow, b, -1, 2**61 - 1))
    print(bits, str(a), int(str(a)) == a, int(hex(a), 16) == a, int.from_bytes(a.to_bytes(bits // 8 + 1, "big"), "little") % 1000003)
print(math.factorial(300))
print(math.comb(200, 77), math.perm(50, 20), math.lcm(12, 18, 35, 77))

print("-- floating point operators")
special = [0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 2.5, 1e16, 1e22, 1e23, 123456789.123456789, 5e-324, 2.2250738585072014e-308,
           1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 9007199254740993.0, 4.35, 0.5, -2.0**63]
binary = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
          math.fmod, math.copysign, math.atan2, math.hypot, operator.lt, operator.eq, operator.ge, math.nextafter, math.remainder]
for a in special:
    for b in special:
        print(a, b, *[attempt(f, a, b) for f in binary])
for a in special:
    print(a, *[attempt(f, a) for f in (int, round, math.floor, math.ceil, math.trunc, math.frexp, math.modf, float.hex,
                                       float.as_integer_ratio, math.ulp, bool, abs, operator.neg)])
    # The hash of a NaN is its address.
    print(0 if a != a else hash(a), [attempt(round, a, n) for n in (-3, -1, 0, 1, 2, 5, 15)])

print("-- floating point, random")
for _ in range(600):
    a = math.ldexp(r.uniform(-1, 1), r.randint(-60, 60))
    b = math.ldexp(r.uniform(-1, 1), r.randint(-60, 60))
    print(a.hex(), b.hex(), (a + b).hex(), (a - b).hex(), (a * b).hex(), (a / b).hex(), math.sqrt(abs(a)).hex(),
          math.fmod(a, b).hex(), math.fsum([a, b, -a, 1e-30, b]).hex(), a < b, int(a), round(b), int(a * 2**40) % 1000003)

print("-- math library")
unary = [math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh, math.asinh, math.acosh,
         math.atanh, math.exp, math.expm1, math.exp2, math.log, math.log10, math.log1p, math.log2, math.sqrt, math.cbrt,
         math.erf, math.erfc, math.gamma, math.lgamma, math.degrees, math.radians]
points = special + [math.ldexp(r.uniform(-1, 1), r.randint(-12, 8)) for _ in range(60)]
for x in points:
    print(x, *[attempt(f, x) for f in unary])
for _ in range(150):
    x, y = r.uniform(0, 50), r.uniform(-20, 20)
    print(x, y, x**y, math.pow(x, y), math.atan2(x, y), math.hypot(x, y), math.dist((x, y), (y, x)), math.log(x, 3), math.ldexp(x, int(y)))
for _ in range(30):
    z = complex(r.gauss(0, 3), r.gauss(0, 3))
    print(z, z * z, z / (1 + z), abs(z), cmath.sqrt(z), cmath.exp(z), cmath.log(z), cmath.sin(z), cmath.polar(z), z**2.5)

print("-- text of numbers")
for _ in range(1500):
    x = math.ldexp(r.uniform(-1, 1), r.randint(-1074, 1023))
    t = repr(x)
    print(t, float(t) == x, f"{x:.17g} {x:.3e} {x:g}")
for x in [*special, 1e5, 123456.0, 0.00001234, 1e-5, 100.0, 2**53 + 2.0, 1e100, 0.15, 0.25, 1.005, 2.675]:
    print(f"{x:f}|{x:.0f}|{x:.1f}|{x:.2f}|{x:10.3f}|{x:<12.4g}|{x:+e}|{x:%}|{x:,.2f}|{x:_.1f}|{x:012.3f}|{x!s:>25}|{'%.10g' % x}|{'%r' % x}")
for n in (0, -1, 255, 2**70, -(10**12)):
    print(f"{n:b} {n:o} {n:x} {n:#X} {n:,} {n:_} {n:+010d} {n:e} {n:>30} {n:^30}".replace(" ", "."))
for text in ["1e400", "-1e-400", "0x1p-3", " 12.5 ", "1_000.5", "nan", "infinity", "1.7976931348623159e308", "2.4703282292062327e-324",
             "0." + "0" * 400 + "1", "9" * 400, "1" * 30 + ".5", "abc"]:
    print(text[:40], attempt(float, text))

print("-- decimal")
getcontext().prec = 50
for _ in range(120):
    a = Decimal(r.getrandbits(120)).scaleb(r.randint(-30, 10))
    b = Decimal(r.getrandbits(70) + 1).scaleb(r.randint(-20, 20))
    print(a, b, a + b, a - b, a * b, a / b, a // b if a < b * 10**40 else "-", a.sqrt(), a.quantize(Decimal("1.00"), rounding=ROUND_HALF_EVEN) if a < 10**40 else "-")
for prec in (5, 28, 200):
    c = Context(prec=prec)
    print(prec, c.divide(Decimal(1), Decimal(7)), c.exp(Decimal(1)), c.ln(Decimal(10)), c.log10(Decimal(3)), c.power(Decimal("1.1"), Decimal("99.5")), c.sqrt(Decimal(2)))
for rounding in (ROUND_CEILING, ROUND_FLOOR, ROUND_UP, ROUND_HALF_EVEN):
    print(rounding, [str(Decimal(x).quantize(Decimal("1"), rounding=rounding)) for x in ("2.5", "-2.5", "3.49", "-0.1")])
print(Decimal(0.1), Decimal("1E+3").normalize(), Decimal("123.4500").as_tuple(), attempt(operator.truediv, Decimal(1), Decimal(0)))

print("-- fractions")
total = Fraction(0)
for n in range(1, 150):
    total += Fraction(1, n) * (-1) ** n
print(total, float(total), total.limit_denominator(1000), round(total, 5), math.floor(total))
for _ in range(60):
    a, b = Fraction(r.randint(-999, 999), r.randint(1, 999)), Fraction(r.randint(1, 999), r.randint(1, 999))
    print(a, b, a + b, a - b, a * b, a / b, a // b, a % b, a < b, Fraction(float(a)).limit_denominator(50), hash(a))
