# graphc compile several.py --entry decoed
