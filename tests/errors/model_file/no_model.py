# graphc compile FILE
import math

SIZE = 3
