# graphc compile FILE -i imgae:float32[N,4]


def forward(image):
    return image
