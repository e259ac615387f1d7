collect_ignore_glob = ["*/*.py"]  # the programs here fail by design; test_golden.py runs them
