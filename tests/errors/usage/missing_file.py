# graphc compile missing_fil.py
