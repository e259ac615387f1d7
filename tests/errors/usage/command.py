# graphc complie FILE
