# graphc compile FILE


def forward(image, mask):
    return image * mask
